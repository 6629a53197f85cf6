// openai-node against the gateway. Prints `ok NAME` or `FAILED NAME` for each case; `run.py` counts them.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// The packages are installed outside the tree; NODE_HOME says where.
const require = createRequire(`${process.env.NODE_HOME}/package.json`);
const { default: OpenAI } = await import(pathToFileURL(require.resolve("openai")).href);
const { version } = JSON.parse(readFileSync(`${process.env.NODE_HOME}/node_modules/openai/package.json`, "utf8"));

const { GATEWAY, OPS, SIM, CREW_KEY, SLOW_KEY } = process.env;
const SETTLE_MS_MAX = 10_000;
const HELLO = [
  { role: "system", content: "You are a librarian." },
  { role: "user", content: "Which shelf holds the atlases?" },
];
const TOOLS = [
  {
    type: "function",
    function: {
      name: "look_up",
      description: "Looks a shelf up.",
      parameters: { type: "object", properties: { subject: { type: "string" } }, required: ["subject"] },
    },
  },
];
const SHELF = {
  name: "shelf",
  strict: true,
  schema: {
    type: "object",
    properties: { room: { type: "string" }, number: { type: "integer" } },
    required: ["room", "number"],
    additionalProperties: false,
  },
};
const ASK = { model: "sim-plain", messages: HELLO, max_tokens: 64 };

/** A client of that task; `sent` counts what really leaves it. */
function client(task, { key = CREW_KEY, headers = {}, ...options } = {}) {
  const sent = [];
  const counted = (url, init) => {
    sent.push(url);
    return fetch(url, init);
  };
  const defaultHeaders = { "x-bursar-task-id": `js-${task}`, "x-bursar-agent-id": "librarian", ...headers };
  const ours = new OpenAI({ baseURL: `${GATEWAY}/v1`, apiKey: key, defaultHeaders, fetch: counted, ...options });
  return { ours, sent };
}

const json = async (url) => (await fetch(url)).json();

function nano(dollars) {
  const [whole, fraction = ""] = dollars.split(".");
  return BigInt(whole) * 10n ** 9n + BigInt(fraction.padEnd(9, "0"));
}

async function books(task) {
  const bill = (await json(`${SIM}/bill`)).by_task[task] ?? { nano_usd: 0, calls: 0 };
  const headers = { authorization: `Bearer ${CREW_KEY}`, "x-bursar-task-id": task };
  const { limits } = await (await fetch(`${GATEWAY}/v1/budget`, { headers })).json();
  const { usd } = limits.find(({ limit }) => limit === "task").meters;
  return {
    billed: BigInt(bill.nano_usd),
    calls: bill.calls,
    settled: nano(usd.settled),
    open: nano(usd.held) + nano(usd.in_doubt),
  };
}

/** The provider billed `calls` calls, and the gateway settled that bill to the nano-dollar. */
async function booksAgree(task, calls) {
  const until = Date.now() + SETTLE_MS_MAX;
  for (;;) {
    const { billed, calls: seen, settled, open } = await books(`js-${task}`);
    const agree = billed === settled && open === 0n && seen === calls && billed > 0n;
    if (agree) return;
    assert.ok(Date.now() < until, `billed ${billed} in ${seen} calls, settled ${settled}, open ${open}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Answers the question about a task, six seconds after it was asked: streams have a head by then. */
async function answer(task, verb, fields) {
  const until = Date.now() + SETTLE_MS_MAX;
  for (;;) {
    const { escalations } = await json(`${OPS}/api/escalations?state=waiting`);
    const found = escalations.find((question) => question.task === `js-${task}`);
    if (found) {
      await new Promise((resolve) => setTimeout(resolve, 6_000));
      const headers = { "content-type": "application/json" };
      const body = JSON.stringify({ by: "suite", ...fields });
      const said = await fetch(`${OPS}/api/escalations/${found.id}/${verb}`, { method: "POST", headers, body });
      assert.ok(said.ok, await said.text());
      return;
    }
    assert.ok(Date.now() < until, `nobody was asked about ${task}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function metric(name) {
  const text = await (await fetch(`${OPS}/metrics`)).text();
  const samples = text.split("\n").filter((line) => line.startsWith(name));
  return samples.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}

async function atProvider() {
  const bill = await json(`${SIM}/bill`);
  return bill.calls + bill.refused;
}

async function refusal(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new assert.AssertionError({ message: "the call was not refused" });
}

const cases = {
  async plain() {
    const { ours } = client("plain");
    const { data, response } = await ours.chat.completions.create(ASK).withResponse();
    assert.ok(data.choices[0].message.content);
    assert.ok(data.usage.completion_tokens > 0 && data.usage.completion_tokens <= 64);
    assert.equal(response.headers.get("x-bursar-task-id"), "js-plain");
    assert.ok(Number(response.headers.get("x-bursar-cost-usd")) > 0);
    await booksAgree("plain", 1);
  },

  async "stream that asks for no usage gets none and is metered"() {
    const stream = await client("stream").ours.chat.completions.create({ ...ASK, stream: true });
    let text = "";
    for await (const chunk of stream) {
      assert.equal(chunk.choices.length, 1, "a chunk without choices was not asked for");
      assert.ok(!chunk.usage);
      text += chunk.choices[0].delta.content ?? "";
    }
    assert.ok(text);
    await booksAgree("stream", 1);
  },

  async "stream that asks for usage gets it"() {
    const asked = { ...ASK, stream: true, stream_options: { include_usage: true } };
    const stream = await client("stream-usage").ours.chat.completions.create(asked);
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    const last = chunks.at(-1);
    assert.equal(last.choices.length, 0);
    assert.ok(last.usage.completion_tokens > 0);
    await booksAgree("stream-usage", 1);
  },

  async "stream left in the middle is metered in full"() {
    const stream = await client("left").ours.chat.completions.create({ ...ASK, max_tokens: 256, stream: true });
    for await (const _ of stream) break;
    await booksAgree("left", 1);
  },

  async "tools and their results"() {
    const { ours } = client("tools");
    const first = await ours.chat.completions.create({ ...ASK, model: "sim-tools", tools: TOOLS });
    const { message } = first.choices[0];
    assert.equal(message.tool_calls[0].function.name, "look_up");
    const results = message.tool_calls.map(({ id }) => ({
      role: "tool",
      tool_call_id: id,
      content: "Room 2, shelf 14",
    }));
    const messages = [...HELLO, message, ...results];
    const second = await ours.chat.completions.create({ ...ASK, messages, tools: TOOLS });
    assert.ok(second.choices[0].message.content);
    await booksAgree("tools", 2);
  },

  async "structured output"() {
    const response_format = { type: "json_schema", json_schema: SHELF };
    const asked = { ...ASK, max_tokens: 512, response_format };
    const answer = await client("structured").ours.chat.completions.parse(asked);
    const { parsed } = answer.choices[0].message;
    assert.equal(typeof parsed.room, "string");
    assert.ok(Number.isInteger(parsed.number));
    await booksAgree("structured", 1);
  },

  async "calls at once"() {
    const { ours } = client("parallel");
    const answers = await Promise.all(Array.from({ length: 12 }, () => ours.chat.completions.create(ASK)));
    assert.ok(answers.every((answer) => answer.choices[0].message.content));
    await booksAgree("parallel", 12);
  },

  async embeddings() {
    const { ours } = client("embeddings");
    const answer = await ours.embeddings.create({ model: "sim-embed", input: ["a map", "an atlas"] });
    assert.equal(answer.data.length, 2);
    assert.equal(typeof answer.data[0].embedding[0], "number");
    await booksAgree("embeddings", 1);
  },

  async responses() {
    const { ours } = client("responses");
    const ask = { model: "sim-plain", max_output_tokens: 64 };
    const first = await ours.responses.create({ ...ask, input: "Which shelf?", instructions: "Be brief." });
    assert.ok(first.output_text);
    const again = { ...ask, input: "And which room?", previous_response_id: first.id };
    assert.ok((await ours.responses.create(again)).output_text);
    await booksAgree("responses", 2);
  },

  async "responses stream"() {
    const ask = { model: "sim-plain", input: "Which shelf?", max_output_tokens: 64 };
    const stream = await client("responses-stream").ours.responses.create({ ...ask, stream: true });
    const events = [];
    for await (const event of stream) events.push(event);
    assert.ok(events.some(({ type }) => type === "response.output_text.delta"));
    assert.match(events.at(-1).type, /^response\.(completed|incomplete)$/);
    assert.ok(events.at(-1).response.usage.output_tokens > 0);
    await booksAgree("responses-stream", 1);
  },

  async "a refused call is attempted once"() {
    const calls = {
      chat: (ours) => ours.chat.completions.create(ASK),
      "chat-stream": (ours) => ours.chat.completions.create({ ...ASK, stream: true }),
      responses: (ours) => ours.responses.create({ model: "sim-plain", input: "Which?" }),
    };
    for (const [name, call] of Object.entries(calls)) {
      const { ours, sent } = client(`refused-${name}`, { headers: { "x-bursar-task-usd": "0.000001" } });
      const before = [await metric("bursar_denials_total"), await atProvider()];
      const error = await refusal(call(ours));
      const after = [await metric("bursar_denials_total"), await atProvider()];
      assert.ok(error instanceof OpenAI.APIError, error.constructor.name);
      assert.equal(error.status, 402);
      assert.equal(error.code, "task_budget_exceeded");
      assert.equal(error.type, "insufficient_quota");
      assert.match(error.message, /\$/);
      assert.doesNotMatch(error.message, /429|rate.limit|too many requests/i);
      assert.equal(error.headers.get("x-should-retry"), "false");
      assert.equal(error.headers.get("retry-after"), null);
      const seen = [sent.length, after[0] - before[0], after[1] - before[1]];
      assert.deepEqual(seen, [1, 1, 0], `${name}: sent, refused, reached the provider`);
    }
  },

  async "the wrong key"() {
    const error = await refusal(client("key", { key: "bursar-nobody" }).ours.chat.completions.create(ASK));
    assert.ok(error instanceof OpenAI.AuthenticationError);
    assert.equal(error.code, "unauthenticated");
  },

  async "a rate limit is waited for"() {
    const ask = { model: "sim-embed", input: "a" };
    const { ours: hasty } = client("rate", { key: SLOW_KEY, maxRetries: 0 });
    let error;
    for (let call = 0; call < 200 && !error; call += 1) {
      await hasty.embeddings.create(ask).catch((refused) => (error = refused));
    }
    assert.ok(error instanceof OpenAI.RateLimitError, "200 calls at once passed a limit of 60 a minute");
    assert.equal(error.code, "rate_limited");
    const wait = Number(error.headers.get("retry-after"));
    assert.ok(wait >= 1 && wait <= 60);
    const { ours: patient, sent } = client("rate", { key: SLOW_KEY, maxRetries: 3 });
    const start = Date.now();
    await patient.embeddings.create(ask);
    assert.ok(sent.length <= 2 && Date.now() - start <= (wait + 2) * 1000);
  },

  async "a stream kept alive until a person approves, and one that a person ends"() {
    for (const [task, verb, fields] of [
      ["ask-yes", "approve", { turns: 1 }],
      ["ask-no", "deny", { why: "start over" }],
    ]) {
      const { ours, sent } = client(task);
      await ours.chat.completions.create(ASK);
      const answered = answer(task, verb, fields);
      const read = (async () => {
        let text = "";
        for await (const chunk of await ours.chat.completions.create({ ...ASK, stream: true })) {
          text += chunk.choices[0]?.delta?.content ?? "";
        }
        return text;
      })();
      if (verb === "approve") {
        assert.ok(await read);
        await booksAgree(task, 2);
      } else {
        const error = await read.then(
          () => assert.fail("the stream ended as if nothing had happened"),
          (refused) => refused,
        );
        assert.equal(error.code, "task_suspended");
      }
      await answered;
      assert.equal(sent.length, 2, "nothing is tried again");
    }
  },

  async "attribution by environment"() {
    process.env.OPENAI_CUSTOM_HEADERS = "x-bursar-task-id: js-environment\nx-bursar-agent-id: clerk";
    try {
      const ours = new OpenAI({ baseURL: `${GATEWAY}/v1`, apiKey: CREW_KEY });
      await ours.chat.completions.create(ASK);
    } finally {
      delete process.env.OPENAI_CUSTOM_HEADERS;
    }
    await booksAgree("environment", 1);
  },
};

let failed = 0;
for (const [name, test] of Object.entries(cases)) {
  const full = `openai-node ${version}: ${name}`;
  if (process.argv.length > 2 && !process.argv.slice(2).some((word) => full.includes(word))) continue;
  try {
    await test();
    console.log(`ok ${full}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${full}`);
    console.log(`    ${String(error.stack).replaceAll("\n", "\n    ")}`);
  }
}
process.exit(failed ? 1 : 0);
