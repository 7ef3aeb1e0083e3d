// What every page needs: requests, elements, lists that keep their focus, uploads, the dialog of folders.

export const byId = (id) => document.getElementById(id);

/** An element with properties and children. Text is only ever text: nothing that has a name can become HTML. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "for" || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function say(text) { byId("said").textContent = text; }

export function problem(text) { byId("problem").textContent = text || ""; }

async function answer(response) {
  const found = await response.json().catch(() => ({ error: `the studio answered ${response.status}; look into its terminal` }));
  if (!response.ok) throw new Error(found.error);
  return found;
}

async function request(path, options) {
  let response;
  try { response = await fetch(path, options); } catch { throw new Error("the studio does not answer; is it still running?"); }
  return answer(response);
}

export const get = (path) => request(path);

export const post = (path, body = {}) =>
  request(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

/** Do something that a person asked for, and show what is wrong in one line. */
export async function attempt(action) {
  problem("");
  try { return await action(); } catch (error) { problem(error.message); return undefined; }
}

/** Make `container` show `items`: elements of known keys are updated in place, so that focus and scrolling stay. */
export function reconcile(container, items, key, make, update) {
  const known = new Map([...container.children].map((child) => [child.dataset.key, child]));
  let place = null;
  for (const item of items) {
    const name = String(key(item));
    let element = known.get(name);
    known.delete(name);
    if (!element) { element = make(item); element.dataset.key = name; }
    update(element, item);
    const next = place ? place.nextElementSibling : container.firstElementChild;
    if (next !== element) container.insertBefore(element, next);
    place = element;
  }
  for (const old of known.values()) old.remove();
}

/** Set text only where it differs: a screen reader is told of changes, and of nothing else. */
export function write(element, text) { if (element.textContent !== text) element.textContent = text; }

/** Call `look` again and again, often while it says that something is going on. */
export function watch(look, often = 500, seldom = 2500) {
  let timer = 0;
  const round = async () => {
    clearTimeout(timer);
    let busy = false;
    if (!document.hidden) {
      try { busy = await look(); } catch (error) { problem(error.message); }
    }
    timer = setTimeout(round, busy ? often : seldom);
  };
  document.addEventListener("visibilitychange", round);
  round();
  return round;
}

export const active = (job) => job.state === "waiting" || job.state === "running";

const STATES = { waiting: "waiting", running: "running", done: "done", failed: "failed", cancelled: "cancelled" };

/** A line for a job: what, how far, and what can be done about it. `actions(job)` gives more buttons. */
export function jobLine() {
  const line = h("div", { class: "job" }, h("p", { class: "what" }), h("p", { class: "row" }));
  const bar = h("progress", { max: 1, value: 0 });
  line.append(bar);
  return line;
}

export function showJob(line, job, label, actions) {
  const [what, row, bar] = line.children;
  let text = `${label}: ${job.cancelling ? "stopping" : STATES[job.state]}`;
  if (job.state === "running" && job.total) text += `, ${job.done} of ${job.total}`;
  if (job.state === "done") text += ` in ${job.seconds.toFixed(1)} s`;
  if (job.error) text = `${label}: ${job.error}`;
  what.className = job.state === "failed" ? "what warning" : "what";
  write(what, text);
  bar.hidden = job.state !== "running";
  bar.setAttribute("aria-label", `${label}: progress`);
  if (job.total) { bar.max = job.total; bar.value = job.done; } else bar.removeAttribute("value");
  if (row.dataset.state === job.state) return;
  row.dataset.state = job.state;
  const buttons = active(job)
    ? [h("button", { type: "button", onclick: () => attempt(() => post("/api/jobs/cancel", { jobs: [job.id] })), "aria-label": `Cancel ${label}` }, "Cancel")]
    : [...actions(job), h("button", { type: "button", onclick: () => attempt(async () => { await post("/api/jobs/remove", { jobs: [job.id] }); line.remove(); }), "aria-label": `Remove ${label}` }, "Remove")];
  row.replaceChildren(...buttons);
  if (job.state === "done" || job.state === "failed") say(text);
}

/** Send files, one after the other; `each` gets every picture that has arrived. */
export async function upload(files, each) {
  const bar = byId("uploading");
  const errors = [];
  const { batch } = await post("/api/batches");
  let sent = 0;
  for (const file of files) {
    if (bar) { bar.hidden = false; bar.max = files.length; bar.value = sent; }
    const path = `/api/upload?batch=${encodeURIComponent(batch)}&name=${encodeURIComponent(file.name)}`;
    try {
      const { picture } = await request(path, { method: "POST", headers: { "content-type": "application/octet-stream" }, body: file });
      each(picture);
    } catch (error) { errors.push(error.message); }
    sent += 1;
  }
  if (bar) bar.hidden = true;
  if (errors.length) problem(errors[0] + (errors.length > 1 ? ` (and ${errors.length - 1} more)` : ""));
}

/** Every file that was dropped, those in folders included. */
export async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  const files = [];
  const open = async (entry) => {
    if (entry.isFile) { files.push(await new Promise((done, failed) => entry.file(done, failed))); return; }
    const reader = entry.createReader();
    for (;;) {
      const part = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (!part.length) break;
      for (const each of part) await open(each);
    }
  };
  for (const entry of entries) await open(entry);
  return files.filter((file) => !file.name.startsWith("."));
}

// The dialog that walks through the folders that the page was given.

let taken = () => {};
let wanted = "folder";
let current = "";

const TITLES = { folder: "Choose a folder", database: "Choose a database", weights: "Choose a weights file", pictures: "Choose a folder or a picture" };
const MARKS = { folder: "▸ ", database: "◆ " };
const TAKEN = { folder: [], database: ["database", "weights"], weights: ["weights"], pictures: ["picture"] };

async function openFolder(path) {
  byId("folders-take").disabled = true; // until it is known which folder that would be
  const found = await post("/api/folder", { path }).finally(() => { byId("folders-take").disabled = false; });
  current = found.path;
  write(byId("folders-path"), found.path || "The folders of this page");
  byId("folders-take").hidden = !found.path || !["folder", "pictures"].includes(wanted);
  const entry = (text, action) => h("li", {}, h("button", { type: "button", onclick: action }, text));
  const list = found.entries
    .filter(({ kind }) => kind === "folder" || TAKEN[wanted].includes(kind))
    .map((one) => entry(`${MARKS[one.kind] || ""}${one.label}`, () => (one.kind === "folder" ? attempt(() => openFolder(one.path)) : take(one.path))));
  if (found.parent !== null) list.unshift(entry("↑ one level up", () => attempt(() => openFolder(found.parent))));
  if (found.more) list.push(h("li", {}, `… and ${found.more} more, not listed; the whole folder can be chosen`));
  byId("folders-list").replaceChildren(...list);
  (byId("folders-list").querySelector("button") || byId("folders-close")).focus();
}

function take(path) { byId("folders").close(); taken(path); }

/** Let the person choose a path; `done` gets it. */
export function choose(what, done) {
  wanted = what;
  taken = done;
  write(byId("folders-title"), TITLES[what]);
  byId("folders").showModal();
  attempt(() => openFolder(""));
}

byId("folders-take").addEventListener("click", () => take(current));
byId("folders-close").addEventListener("click", () => byId("folders").close());
for (const button of document.querySelectorAll("[data-choose]")) {
  const field = byId(button.dataset.choose);
  if (field) button.addEventListener("click", () => choose(button.dataset.what, (path) => { field.value = path; field.dispatchEvent(new Event("change")); }));
}

/** Bytes in words. */
export function bytes(count) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let index = 0;
  while (count >= 1000 && index < units.length - 1) { count /= 1000; index += 1; }
  return `${index && count < 10 ? count.toFixed(1) : Math.round(count)} ${units[index]}`;
}

/** Seconds in words. */
export function duration(seconds) {
  if (seconds < 90) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}
