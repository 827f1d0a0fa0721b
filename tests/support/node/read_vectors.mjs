// Decodes msgpack given as hex, one document a line, with @msgpack/msgpack alone; prints each as a text that
// tells every class a JavaScript reader can tell. Numbers stand as the eight bytes of a double, since JSON would
// round them; integers that msgpack writes in 64 bits are BigInt.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const { ExtensionCodec, decode } = createRequire(process.argv[2])("@msgpack/msgpack");

const extensions = new ExtensionCodec();
extensions.register({ type: 1, encode: () => null, decode: (data) => ({ notUtf8: hex(data) }) });

function hex(bytes) {
  return Buffer.from(bytes).toString("hex");
}

function told(value) {
  if (value === null) return ["null"];
  if (typeof value === "boolean") return ["boolean", value];
  if (typeof value === "bigint") return ["bigint", value.toString()];
  if (typeof value === "string") return ["text", hex(Buffer.from(value, "utf8"))];
  if (value instanceof Uint8Array) return ["blob", hex(value)];
  if (Array.isArray(value)) return ["array", value.map(told)];
  if (typeof value === "number") {
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleBE(value);
    return ["number", hex(bytes)];
  }
  if ("notUtf8" in value) return ["text", value.notUtf8];
  return ["map", Object.fromEntries(Object.entries(value).map(([name, item]) => [name, told(item)]))];
}

for await (const line of createInterface({ input: process.stdin })) {
  const value = decode(Buffer.from(line, "hex"), { extensionCodec: extensions, useBigInt64: true });
  process.stdout.write(JSON.stringify(told(value)) + "\n");
}
