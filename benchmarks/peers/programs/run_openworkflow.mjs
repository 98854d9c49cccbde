// OpenWorkflow for TypeScript: 16 slots a process, a pool with a connection for each of them.
// The same commands as protocol.py; intervals of polling cannot be set.
import { createRequire } from "node:module";
import { createSocket } from "node:dgram";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const require = createRequire(process.env.PEER_HOME + "/");
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const { OpenWorkflow } = await load("openworkflow");
const { BackendPostgres } = await load("openworkflow/postgres");

const SLOTS = Number(process.env.PEER_SLOTS ?? "16");
const CALLERS = 16;
const HANG_MS = 3600_000;
const seconds = () => (performance.timeOrigin + performance.now()) / 1000;

const line = createSocket("udp4");
line.unref();
const report = (job) => {
  const began = seconds();
  line.send(`${job} ${began} ${process.pid}`, Number(process.env.PEER_REPORTS), "127.0.0.1");
};

const [command, ...numbers] = process.argv.slice(2);
const backend = await BackendPostgres.connect(`${process.env.PEER_POSTGRES_JS_URL}?max=20`, {
  runMigrations: command === "setup",
});
const ow = new OpenWorkflow({ backend });

const jobs = {
  nothing: ow.defineWorkflow({ name: "nothing" }, async ({ input, step }) => {
    for (let number = 0; number < input.steps; number++) {
      await step.run({ name: `nothing-${number}` }, async () => {});
    }
  }),
  stamp: ow.defineWorkflow({ name: "stamp" }, async ({ step }) => {
    await step.run({ name: "stamp" }, async () => report("stamp"));
  }),
  hang: ow.defineWorkflow({ name: "hang" }, async ({ step }) => {
    await step.run({ name: "hang" }, async () => {
      report("hang");
      await new Promise((resolve) => setTimeout(resolve, HANG_MS));
    });
  }),
};

const start = (job, steps) => jobs[job].run({ steps });
const callers = (work) => Promise.all(Array.from({ length: CALLERS }, work));

async function backlog(count, steps) {
  let left = count;
  await callers(async () => {
    while (left-- > 0) await start("nothing", steps);
  });
}

async function enqueue(duration) {
  await callers(() => start("nothing", 1));
  const began = seconds();
  let count = 0;
  await callers(async () => {
    while (seconds() < began + duration) {
      await start("nothing", 1);
      count++;
    }
  });
  return { count, seconds: seconds() - began };
}

async function answer(name, argument) {
  const called = seconds();
  if (name === "start") {
    await start(argument, 1);
    return { called };
  }
  if (name === "roundtrip") {
    await (await start("nothing", 1)).result();
    return { seconds: seconds() - called };
  }
  if (name === "enqueue") return enqueue(Number(argument));
  throw new Error(name);
}

const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");

if (command === "backlog") await backlog(...numbers.map(Number));
if (command === "client") {
  say({ ready: true });
  for await (const text of createInterface({ input: process.stdin })) {
    say(await answer(...text.split(" ")));
  }
}
if (command === "worker") await ow.newWorker({ concurrency: SLOTS }).start();
else process.exit(0);
