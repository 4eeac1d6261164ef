"use strict";

/* Loads chunks of data. They are scripts that call `encodeonceData`, since a page on a disk may load
   scripts but not fetch files. */

const chunks = new Map();

function encodeonceData(name, content) {
  chunks.get(name)?.resolve(content);
}

function loadChunk(name) {
  if (chunks.has(name)) return chunks.get(name).promise;
  const chunk = {};
  chunks.set(name, chunk);
  chunk.promise = new Promise((resolve, reject) => {
    const fail = () => {
      chunks.delete(name); // so that it can be asked for again
      reject(new Error(`data/${name}.js cannot be loaded. Has encodeonce view ended?`));
    };
    const tag = document.createElement("script");
    tag.src = `data/${name}.js`;
    tag.addEventListener("load", () => tag.remove());
    tag.addEventListener("error", () => { tag.remove(); fail(); });
    chunk.resolve = resolve;
    document.head.append(tag);
  });
  return chunk.promise;
}

/* Makes an element. Content is text or elements, never markup: it may be anything a model wrote. */
function make(tag, attributes = {}, ...content) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...content.filter(one => one != null));
  return element;
}

/* Text whose lines may break at the separators of ids and paths, and never within a word. */
function breakable(text) {
  const parts = text.split(/(?<=[/@:+,_=])(?=[^\s/@:+,_=()])|(?<=\S)(?=\()/);
  return parts.flatMap((part, n) => (n ? [document.createElement("wbr"), part] : [part]));
}
