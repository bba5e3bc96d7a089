"use strict";
// Makes elements of text, unpacks the page's data, and keeps what is looked at in the address.

const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]|\udb40[\udc00-\udc7f]/g;

// Every text goes through here: it becomes text nodes, and controls that could reorder or hide it become visible marks.
function write(parent, text) {
  let last = 0;
  for (const hit of text.matchAll(CONTROL)) {
    parent.append(text.slice(last, hit.index));
    const mark = document.createElement("span");
    mark.className = "ctl";
    mark.textContent = "U+" + hit[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    parent.append(mark);
    last = hit.index + hit[0].length;
  }
  parent.append(text.slice(last));
}

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "on") for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  for (const child of children.flat()) {
    if (child instanceof Node) node.append(child);
    else if (child !== null && child !== undefined && child !== false) write(node, String(child));
  }
  return node;
}

function svg(tag, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) write(node, text);
  return node;
}

const unpacked = new Map();
function unpack(id) {
  if (!unpacked.has(id)) unpacked.set(id, decode(id));
  return unpacked.get(id);
}

async function decode(id) {
  const holder = document.getElementById(id);
  if (!holder) return null;
  const text = atob(holder.textContent.trim());
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return JSON.parse(await new Response(stream).text());
}

// The address: `#/?grid=0&contaminate=de&cell=de/en/npo/0&query=ur`. Other fragments are ordinary anchors.
const AXES = ["contaminate", "unlearn", "method", "seed", "query"];
function readAddress() {
  const fragment = location.hash;
  if (!fragment.startsWith("#/?")) return null;
  return Object.fromEntries(new URLSearchParams(fragment.slice(3)));
}

function addressOf(view) {
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(view)) if (value !== "" && value !== null && value !== undefined) words.set(name, value);
  return "#/?" + words.toString().replaceAll("%2F", "/");
}

const tenths = (value) => (value === null || value === undefined ? "–" : (value / 10).toFixed(1));
// Never rounds something to nothing, or a part to all.
const whole = (value) => (value > 0 && value <= 5 ? "<1" : value >= 995 && value < 1000 ? ">99" : String(Math.round(value / 10)));
const step = (value) => Math.min(20, Math.max(0, Math.round(value / 50)));
const nameOf = (cell) => cell.filter((part) => part !== null).join("/");
