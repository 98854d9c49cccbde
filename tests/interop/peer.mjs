// OpenWorkflow for TypeScript, told line by line what to do: JSON in, JSON out.
// Arguments: the directory in which the package is installed, database URL, schema, and what it
// is to be: "client", or "worker" with the names of the workflows that it is to serve.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [home, url, schema, role, ...served] = process.argv.slice(2);
const require = createRequire(home + "/");
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const { OpenWorkflow, declareWorkflow } = await load("openworkflow");
const { BackendPostgres } = await load("openworkflow/postgres");
const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");

const backend = await BackendPostgres.connect(url, {
  schema,
  runMigrations: role === "migrate",
}).catch((error) => {
  say({ error: String(error) });
  process.exit(1);
});
const ow = new OpenWorkflow({ backend });
const spec = (name, version) => declareWorkflow({ name, version });

const bodies = {
  "ts-greet": async ({ input, step }) => {
    const name = await step.run({ name: "name" }, () => input.name.toUpperCase());
    await step.sleep("pause", "10ms");
    return { greeting: `hello ${name}`, from: "TypeScript" };
  },
  "ts-fail": async () => {
    throw new RangeError("no such thing in TypeScript");
  },
  "ts-parent": async ({ input, step }) => {
    const child = await step.runWorkflow(spec(input.child), input.input);
    return { child };
  },
  "ts-nap": async ({ step }) => {
    await step.sleep("nap", "1h");
    return "awake";
  },
  "ts-charge": async ({ input, step }) => {
    const token = await step.run({ name: "reserve" }, () => Math.random());
    return await step.run({ name: "charge", retryPolicy: { maximumAttempts: 1 } }, () => {
      if (input.amount < 0) throw new RangeError("a bad amount");
      return { token, amount: input.amount };
    });
  },
  "ts-patched": async ({ step }) => step.run({ name: "patched:tax" }, () => true),
  "ts-wait": async ({ input, step }) => step.waitForSignal({ signal: input.signal, timeout: "1h" }),
  "ts-send": async ({ input, step }) =>
    step.sendSignal({ signal: input.signal, data: input.data }),
};
const names = role === "worker" ? served : [];
for (const name of names) ow.defineWorkflow({ name }, bodies[name]);

const runOf = (id) => backend.getWorkflowRun({ workflowRunId: id });

async function result(id) {
  for (;;) {
    const run = await runOf(id);
    if (["completed", "failed", "canceled"].includes(run.status)) {
      return { status: run.status, output: run.output, error: run.error };
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const commands = {
  run: async ({ workflow, version, input, key, deadline }) => {
    const options = { idempotencyKey: key, deadlineAt: deadline && new Date(deadline) };
    const handle = await ow.runWorkflow(spec(workflow, version), input, options);
    return handle.workflowRun.id;
  },
  result: ({ id }) => result(id),
  cancel: async ({ id }) => (await ow.cancelWorkflowRun(id)) ?? null,
  signal: async ({ signal, data, key }) =>
    (await ow.sendSignal({ signal, data, idempotencyKey: key })).workflowRunIds,
  runs: (page) => backend.listWorkflowRuns(page),
  steps: ({ id, ...page }) => backend.listStepAttempts({ workflowRunId: id, ...page }),
  counts: () => backend.countWorkflowRuns(),
};

if (role === "worker") await ow.newWorker({ concurrency: 4 }).start();
say({ ready: true });
if (role === "migrate") process.exit(0);
for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...given } = JSON.parse(line);
  try {
    say({ value: (await commands[name](given)) ?? null });
  } catch (error) {
    say({ error: error.message });
  }
}
process.exit(0);
