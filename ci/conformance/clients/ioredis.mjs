// ioredis against a server on $PORT: alone, in a pipeline, through its ready check, and as a cluster where CLUSTER=1.
import assert from "node:assert/strict";
import { Redis, Cluster } from "ioredis";

const port = Number(process.env.PORT);

async function alone() {
  const redis = new Redis({ port, host: "127.0.0.1", maxRetriesPerRequest: 1 });
  await redis.flushall();
  assert.equal(await redis.set("s", "hello", "PX", 100_000), "OK");
  assert.equal(await redis.get("s"), "hello");
  assert.equal(await redis.get("nothing"), null);
  assert.ok((await redis.pttl("s")) > 90_000);
  assert.equal(await redis.incrby("n", 5), 5);
  assert.equal(await redis.incrbyfloat("n", 0.5), "5.5");
  assert.equal(await redis.mset({ a: 1, b: 2 }), "OK");
  assert.deepEqual(await redis.mget("a", "nothing", "b"), ["1", null, "2"]);
  assert.deepEqual(await redis.getBuffer("s"), Buffer.from("hello"));
  assert.equal(await redis.bitcount("s"), 21);
  const pipeline = redis.pipeline();
  for (let number = 0; number < 1000; number++) pipeline.set(`p${number}`, number).get(`p${number}`);
  const replies = await pipeline.exec();
  assert.equal(replies.length, 2000);
  replies.forEach(([error, reply], index) => assert.deepEqual([error, reply], [null, index % 2 ? String((index - 1) / 2) : "OK"]));
  const seen = new Set();
  for await (const keys of redis.scanStream({ match: "p*", count: 100 })) keys.forEach((key) => seen.add(key));
  assert.equal(seen.size, 1000);
  await assert.rejects(redis.call("NOSUCH"), /unknown command/);
  await assert.rejects(redis.call("SET", "a"), /wrong number of arguments for 'set' command/);
  assert.match(await redis.info(), /redis_version:/);
  assert.equal(await redis.quit(), "OK");
}

async function clustered() {
  const cluster = new Cluster([{ host: "127.0.0.1", port }], { slotsRefreshTimeout: 5000 });
  await cluster.flushall();
  await Promise.all(Array.from({ length: 500 }, (_, number) => cluster.set(`key:${number}`, number)));
  const values = await Promise.all(Array.from({ length: 500 }, (_, number) => cluster.get(`key:${number}`)));
  values.forEach((value, number) => assert.equal(value, String(number)));
  assert.equal(cluster.nodes("master").length, Number(process.env.NODES ?? 1));
  assert.equal(await cluster.mset("{t}a", 1, "{t}b", 2), "OK");
  assert.deepEqual(await cluster.mget("{t}a", "{t}b"), ["1", "2"]);
  await cluster.quit();
}

if (process.env.CLUSTER === "1") await clustered();
else await alone();
console.log(`ioredis${process.env.CLUSTER === "1" ? " Cluster" : ""}: every check holds`);
