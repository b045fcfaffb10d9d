// Makes the pictures of a folder small: `node palette.mjs <folder>`. A page has few colours, but for the edges of its letters; the 128
// most frequent stand for all, each other one by the nearest of them. That is a third of what Chromium writes.

import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { deflateSync, inflateSync } from "node:zlib";

const SIGNATURE = Buffer.from("89504e470d0a1a0a", "hex");
const COLOURS = 128;
/** The kinds of pixels that Chromium writes, by their bytes. */
const BYTES = { 2: 3, 6: 4 };
const PALETTE = 3;

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type), data]);
  const crc = ~body.reduce((crc, byte) => CRC[(crc ^ byte) & 255] ^ (crc >>> 8), 0xffffffff) >>> 0;
  const [length, check] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  check.writeUInt32BE(crc);
  return Buffer.concat([length, body, check]);
}

function* chunks(file) {
  for (let at = SIGNATURE.length; at < file.length; ) {
    const length = file.readUInt32BE(at);
    yield { type: file.toString("latin1", at + 4, at + 8), data: file.subarray(at + 8, at + 8 + length) };
    at += 12 + length;
  }
}

/** The picture's rows without what PNG does to predict them. */
function pixels(raw, stride, bytes, height) {
  const paeth = (a, b, c) => {
    const [pa, pb, pc] = [Math.abs(b - c), Math.abs(a - c), Math.abs(a + b - 2 * c)];
    return pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
  };
  const rows = new Uint8Array(stride * height);
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (stride + 1)];
    for (let x = 0; x < stride; x++) {
      const at = y * stride + x;
      const left = x >= bytes ? rows[at - bytes] : 0;
      const above = y > 0 ? rows[at - stride] : 0;
      const both = x >= bytes && y > 0 ? rows[at - stride - bytes] : 0;
      const predicted = [0, left, above, (left + above) >> 1, paeth(left, above, both)][filter];
      rows[at] = raw[at + y + 1] + predicted;
    }
  }
  return rows;
}

function withPalette(file) {
  const parts = [...chunks(file)];
  const head = parts.find((part) => part.type === "IHDR").data;
  const [width, height, depth, kind] = [head.readUInt32BE(0), head.readUInt32BE(4), head[8], head[9]];
  if (kind === PALETTE) return file;
  const bytes = BYTES[kind];
  if (!bytes || depth !== 8 || head[12] !== 0) throw new Error("not a picture as Chromium writes them");
  const raw = inflateSync(Buffer.concat(parts.filter((part) => part.type === "IDAT").map((part) => part.data)));
  const rows = pixels(raw, width * bytes, bytes, height);

  const colours = new Uint32Array(width * height);
  const counts = new Map();
  for (let at = 0; at < colours.length; at++) {
    const colour = (rows[at * bytes] << 16) | (rows[at * bytes + 1] << 8) | rows[at * bytes + 2];
    colours[at] = colour;
    counts.set(colour, (counts.get(colour) ?? 0) + 1);
  }
  const frequent = [...counts].sort(([a, n], [b, m]) => m - n || a - b).slice(0, COLOURS).map(([colour]) => colour);
  const part = (colour, shift) => (colour >> shift) & 255;
  const distance = (a, b) => [16, 8, 0].reduce((sum, shift) => sum + (part(a, shift) - part(b, shift)) ** 2, 0);
  const nearest = new Map();
  for (const colour of counts.keys()) {
    nearest.set(colour, frequent.reduce((best, _, n) => (distance(frequent[n], colour) < distance(frequent[best], colour) ? n : best), 0));
  }

  const lines = Buffer.alloc((width + 1) * height);
  colours.forEach((colour, at) => (lines[at + Math.floor(at / width) + 1] = nearest.get(colour)));
  const header = Buffer.from(head);
  header[9] = PALETTE;
  const palette = Buffer.from(frequent.flatMap((colour) => [part(colour, 16), part(colour, 8), part(colour, 0)]));
  const data = deflateSync(lines, { level: 9, memLevel: 9 });
  return Buffer.concat([SIGNATURE, chunk("IHDR", header), chunk("PLTE", palette), chunk("IDAT", data), chunk("IEND", Buffer.alloc(0))]);
}

const folder = process.argv[2];
for (const name of readdirSync(folder).filter((name) => name.endsWith(".png"))) {
  const path = join(folder, name);
  writeFileSync(path, withPalette(readFileSync(path)));
}
