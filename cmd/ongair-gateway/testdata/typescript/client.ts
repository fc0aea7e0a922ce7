// A client of the gateway. Its types are those that openapi-typescript generates from the gateway's
// OpenAPI document, as schema.ts. Each @ts-expect-error is a mistake that the types must detect.

import assert from "node:assert/strict"
import createClient from "openapi-fetch"
import type { components, paths } from "./schema.js"

type SendRequest = components["schemas"]["ongair.v1.SendRequest"]
type Status = components["schemas"]["google.rpc.Status"]
type ErrorInfo = components["schemas"]["google.rpc.ErrorInfo"]
type StreamLine = components["schemas"]["StreamLine"]
type Event = components["schemas"]["ongair.v1.Event"]

const [baseUrl, apiKey] = process.argv.slice(2)
assert(baseUrl && apiKey, "usage: client.js URL KEY")
const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${apiKey}` } })

// infoOf returns the ErrorInfo of an error.
function infoOf(error: Status | undefined): ErrorInfo {
  const info = error?.details.find(detail => detail["@type"] === "type.googleapis.com/google.rpc.ErrorInfo")
  assert(info, "an error has an ErrorInfo")
  return info
}

// textsOf returns the texts of the messages in events.
function textsOf(events: Event[]): string[] {
  return events.flatMap(event => (event.message_sent ? [event.message_sent.text] : []))
}

const text = "Hello from TypeScript"

async function send() {
  const body = { external_id: "+254722200200", text, request_id: "typescript-1" }
  const { data, error } = await client.POST("/v1/messages:send", { body })
  assert(data, JSON.stringify(error))
  assert.notEqual(data.id, "")
  assert.equal(data.replayed, false)
  const again = await client.POST("/v1/messages:send", { body })
  assert.equal(again.data?.replayed, true)
  // @ts-expect-error: the field is conversation_id
  assert.equal(data.conversationId, undefined)
}

// The gateway rejects what the types reject.
async function sendWrongFields() {
  const { error, response } = await client.POST("/v1/messages:send", {
    // @ts-expect-error: text is missing
    body: { external_id: "+254722200200" },
  })
  assert.equal(response.status, 400)
  const info = infoOf(error)
  assert.equal(info.reason, "INVALID_REQUEST")
  assert.equal(info.domain, "gateway.ongair.im")
  // @ts-expect-error: no reason has this name
  const misspelt: ErrorInfo["reason"] = "INVALID_REQUESTS"
  assert.notEqual(info.reason, misspelt)
  const invalid = error?.details.find(detail => detail["@type"] === "type.googleapis.com/google.rpc.BadRequest")
  assert.deepEqual(invalid?.field_violations.map(violation => violation.field), ["text"])

  // @ts-expect-error: no field has this name
  const body: SendRequest = { external_id: "+254722200200", text, texts: [text] }
  const unknown = await client.POST("/v1/messages:send", { body })
  assert.equal(infoOf(unknown.error).reason, "INVALID_REQUEST")
}

async function sendToNobody() {
  const { error, response } = await client.POST("/v1/messages:send", { body: { external_id: "+254705865640", text } })
  assert.equal(response.status, 400)
  assert.equal(infoOf(error).reason, "ONGAIR_REFUSED")
  assert.equal(infoOf(error).metadata?.effect, "none")
}

async function callWithoutKey() {
  const { error, response } = await client.GET("/v1/events", { headers: { Authorization: null } })
  assert.equal(response.status, 401)
  assert.equal(infoOf(error).reason, "CREDENTIALS_MISSING")
}

// readPages reads pages until it finds the text.
async function readPages() {
  let cursor: string | undefined
  for (;;) {
    const { data, error } = await client.GET("/v1/events", {
      params: { query: { event_types: ["EVENT_TYPE_MESSAGE_SENT"], page_size: 1, wait: "20s", ...(cursor ? { cursor } : { position: "POSITION_EARLIEST" }) } },
    })
    assert(data, JSON.stringify(error))
    assert.equal(data.events.length, 1, "the log has no more events")
    if (textsOf(data.events).includes(text)) return
    cursor = data.cursor
  }
}

// readStream reads a stream until it finds the text. Then it closes the stream.
async function readStream() {
  const { data, error } = await client.GET("/v1/events:subscribe", {
    params: { query: { position: "POSITION_EARLIEST", heartbeat_interval: "1s" } },
    parseAs: "stream",
    signal: AbortSignal.timeout(20_000),
  })
  assert(data, JSON.stringify(error))
  let rest = ""
  for await (const part of data.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + part).split("\n")
    rest = lines.pop() ?? ""
    for (const line of lines) {
      const read: StreamLine = JSON.parse(line)
      assert("result" in read, line)
      if (textsOf(read.result.events).includes(text)) return
    }
  }
  assert.fail("the stream ended")
}

for (const step of [send, sendWrongFields, sendToNobody, callWithoutKey, readPages, readStream]) {
  await step()
  console.log(step.name)
}
