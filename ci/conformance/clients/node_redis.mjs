// node-redis against a server on $PORT: RESP2 and RESP3, and as a cluster where CLUSTER=1.
import assert from "node:assert/strict";
import { createClient, createCluster } from "redis";

const port = Number(process.env.PORT);

async function alone(RESP) {
  const client = createClient({ socket: { port, host: "127.0.0.1", reconnectStrategy: false }, RESP });
  client.on("error", (error) => { throw error; });
  await client.connect();
  await client.flushAll();
  assert.equal(await client.set("s", "hello", { EX: 100, NX: true }), "OK");
  assert.equal(await client.set("s", "world", { NX: true }), null);
  assert.equal(await client.get("s"), "hello");
  assert.ok((await client.ttl("s")) > 90);
  assert.equal(await client.incrBy("n", 41) + 1, 42);
  assert.equal(await client.incrByFloat("n", 0.25), "41.25");
  assert.deepEqual(await client.mGet(["s", "nothing"]), ["hello", null]);
  const replies = await Promise.all(Array.from({ length: 1000 }, (_, number) => client.set(`p${number}`, String(number))));
  assert.ok(replies.every((reply) => reply === "OK"));
  let seen = 0;
  for await (const keys of client.scanIterator({ MATCH: "p*", COUNT: 50 })) seen += Array.isArray(keys) ? keys.length : 1;
  assert.ok(seen >= 1000);
  assert.equal(await client.getDel("s"), "hello");
  assert.equal(await client.exists("s"), 0);
  assert.equal(await client.lcsLen("n", "n"), 5);
  assert.deepEqual(await client.bitField("f", [{ operation: "SET", encoding: "u8", offset: 0, value: 200 }, { operation: "GET", encoding: "u8", offset: 0 }]), [0, 200]);
  assert.match(await client.info("server"), /redis_version:/);
  await assert.rejects(client.sendCommand(["NOSUCH"]), /unknown command/);
  assert.ok((await client.configGet("maxmemory"))["maxmemory"] !== undefined);
  await client.close();
}

async function clustered() {
  const cluster = createCluster({ rootNodes: [{ url: `redis://127.0.0.1:${port}` }] });
  cluster.on("error", (error) => { throw error; });
  await cluster.connect();
  assert.equal(cluster.masters.length, Number(process.env.NODES ?? 1));
  await Promise.all(Array.from({ length: 500 }, (_, number) => cluster.set(`key:${number}`, String(number))));
  const values = await Promise.all(Array.from({ length: 500 }, (_, number) => cluster.get(`key:${number}`)));
  values.forEach((value, number) => assert.equal(value, String(number)));
  assert.deepEqual(await cluster.mGet(["{t}a", "{t}b"]), [null, null]);
  await cluster.close();
}

if (process.env.CLUSTER === "1") await clustered();
else for (const RESP of [2, 3]) await alone(RESP);
console.log(`node-redis${process.env.CLUSTER === "1" ? " cluster" : ""}: every check holds`);
