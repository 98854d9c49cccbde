// OpenWorkflow for TypeScript, told line by line what to do: JSON in, JSON out.
// Arguments: the directory in which the package is installed, database URL, schema, and what it
// is to be: "client", or "worker" with the names of the workflows that it is to serve. With TRACED in
// the environment, it has a tracer provider, and tells its spans.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [home, url, schema, role, ...served] = process.argv.slice(2);
const require = createRequire(home + "/");
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const { OpenWorkflow, declareWorkflow } = await load("openworkflow");
const { BackendPostgres } = await load("openworkflow/postgres");
const tracing = process.env.TRACED ? await startTracing() : undefined;
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

async function startTracing() {
  const api = await load("@opentelemetry/api");
  const node = await load("@opentelemetry/sdk-trace-node");
  const exporter = new node.InMemorySpanExporter();
  const spanProcessors = [new node.SimpleSpanProcessor(exporter)];
  new node.NodeTracerProvider({ spanProcessors }).register();
  return { ...api, exporter };
}

function inRequest(call) {
  if (!tracing) return call();
  const { context, propagation, trace } = tracing;
  const baggage = propagation.createBaggage({ tenant: { value: "t1" } });
  return context.with(propagation.setBaggage(context.active(), baggage), () =>
    trace.getTracer("peer").startActiveSpan("request", async (span) => {
      try {
        return await call();
      } finally {
        span.end();
      }
    }),
  );
}

const told = (span) => ({
  name: span.name,
  kind: span.kind,
  status: [span.status.code, span.status.message ?? null],
  events: span.events.map(({ name }) => name),
  trace: span.spanContext().traceId,
  id: span.spanContext().spanId,
  parent: span.parentSpanContext?.spanId ?? null,
  links: span.links.map(({ context }) => [context.traceId, context.spanId]),
  attributes: span.attributes,
});

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
    const start = () => ow.runWorkflow(spec(workflow, version), input, options);
    const handle = await inRequest(start);
    return handle.workflowRun.id;
  },
  result: ({ id }) => result(id),
  cancel: async ({ id }) => (await ow.cancelWorkflowRun(id)) ?? null,
  signal: async ({ signal, data, key }) =>
    (await ow.sendSignal({ signal, data, idempotencyKey: key })).workflowRunIds,
  runs: (page) => backend.listWorkflowRuns(page),
  steps: ({ id, ...page }) => backend.listStepAttempts({ workflowRunId: id, ...page }),
  spans: () => tracing.exporter.getFinishedSpans().map(told),
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
