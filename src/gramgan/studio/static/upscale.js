// The page Upscale.

import { active, attempt, byId, bytes, choose, dropped, duration, get, h, jobLine, post, problem, reconcile, showJob, upload, watch, write } from "./core.js";
import { Viewer } from "./viewer.js";

const form = byId("settings");
const viewer = new Viewer(byId("viewer"));
let pictures = [];
let jobs = [];
let plans = new Map(); // picture → {key, plan, error, facts}
let compared = null; // the job in the viewer

// What the form says; what stands at its default is not sent.
function settings() {
  const found = {};
  for (const field of form.querySelectorAll("[data-kind]")) {
    const { kind } = field.dataset;
    if (kind === "flag") { if (field.checked) found[field.name] = true; continue; }
    let { value } = field;
    if (value === "file") value = byId(`file-${field.name}`).value;
    if (value === "" || value === field.dataset.default) continue;
    found[field.name] = kind === "tristate" ? value === "true" : kind === "number" ? Number(value) : value;
  }
  return found;
}

// All pictures but those that cannot be done; one that was not looked at yet belongs to them.
const wanted = () => pictures.filter((one) => !plans.get(one.id)?.error);
const count = (number) => (number === 1 ? "1 picture" : `${number} pictures`);

// What each picture would become, asked one after the other; an answer for settings that have changed since is dropped.
let planning = 0;
async function makePlans() {
  planning += 1;
  const own = planning;
  const chosen = settings();
  const key = JSON.stringify(chosen);
  for (const picture of [...pictures]) {
    if (own !== planning) return;
    if (plans.get(picture.id)?.key === key) continue;
    try { plans.set(picture.id, { key, ...(await post("/api/plan", { picture: picture.id, settings: chosen })) }); } catch (error) {
      plans.set(picture.id, { key, plan: null, error: error.message });
    }
    if (own === planning) show();
  }
  show();
}

let typing = 0;
function changed() {
  for (const field of form.querySelectorAll("select[data-kind=choice]")) {
    const file = byId(`file-${field.name}`);
    if (file) file.parentElement.hidden = field.value !== "file";
  }
  for (const slide of form.querySelectorAll(".slide")) slide.querySelector("output").textContent = Number(slide.querySelector("input").value).toFixed(2);
  clearTimeout(typing);
  typing = setTimeout(makePlans, 250);
}
form.addEventListener("input", changed);

// What tells a result from others of the same picture: its weights, and what was not left at its default.
function label(job) {
  const named = Object.entries(job.about.settings).filter(([name]) => name !== "model" || !job.result.weights).map(([name, value]) => (name === "model" ? value : value === "True" ? name.replaceAll("_", " ") : `${name.replaceAll("_", " ")} ${value}`));
  return [job.result.weights, ...named].filter(Boolean).join(", ") || "automatic";
}

const done = (picture) => jobs.filter((job) => job.about.picture === picture.id && job.state === "done");

function compare(picture, job, scroll = false) {
  const results = done(picture);
  const choices = [{ reference: `picture-${picture.id}`, label: "original" }, ...results.map((one) => ({ reference: `job-${one.id}`, label: label(one) }))];
  const other = results.filter((one) => one.id !== job.id).at(-1);
  compared = job.id;
  return attempt(async () => {
    await viewer.show({ left: choices[0].reference, right: `job-${job.id}`, third: other ? `job-${other.id}` : null, choices });
    if (scroll) byId("viewer").scrollIntoView({ block: "nearest" });
  });
}

function makeCard(picture) {
  const remove = h("button", { type: "button", "aria-label": `Remove ${picture.name}`, onclick: () => attempt(async () => { await post("/api/pictures/remove", { pictures: [picture.id] }); await refresh(); }) }, "Remove");
  return h("li", { class: "card" },
    h("img", { class: "thumb", alt: "", loading: "lazy", src: `/api/thumbnail/picture-${picture.id}`, onerror: (event) => { event.target.style.visibility = "hidden"; } }),
    h("div", {}, h("div", { class: "head" }, h("h3", {}, picture.name), remove), h("p", { class: "quiet facts-line" }, "looking at it…"), h("p", { class: "plan" })),
    h("div", { class: "jobs" }));
}

function updateCard(card, picture) {
  const found = plans.get(picture.id);
  if (found) {
    write(card.querySelector(".facts-line"), found.facts || picture.place);
    const line = card.querySelector(".plan");
    line.className = found.error ? "plan warning" : "plan quiet";
    write(line, found.error || planned(found.plan));
  }
  const own = jobs.filter((job) => job.about.picture === picture.id);
  reconcile(card.querySelector(".jobs"), own, (job) => job.id, jobLine, (line, job) => showJob(line, job, job.result.saved ? `${label(job)} → ${job.result.saved}` : label(job), (ended) => (ended.state !== "done" ? [] : [
    h("button", { type: "button", onclick: () => compare(picture, ended, true), "aria-label": `Compare ${picture.name}, ${label(ended)}` }, "Compare"),
    h("a", { class: "button", href: `/results/${ended.id}`, download: ended.result.name, "aria-label": `Download ${ended.result.name}, ${label(ended)}` }, `Download (${bytes(ended.result.bytes)})`),
  ])));
}

function planned(plan) {
  if (!plan) return "";
  const time = plan.seconds === null ? "time not known yet" : `about ${duration(plan.seconds)}`;
  return `→ ${plan.width} × ${plan.height} with ${plan.weights}${plan.chosen ? " (chosen for it)" : ""}, ${time}, at most ${bytes(plan.bytes)}${plan.way ? ` · ${plan.way}` : ""}`;
}

function show() {
  reconcile(byId("pictures"), pictures, (one) => one.id, makeCard, updateCard);
  byId("empty").hidden = pictures.length > 0;
  const many = count(wanted().length);
  const ready = pictures.map((one) => plans.get(one.id)?.plan).filter(Boolean);
  const seconds = ready.length < wanted().length || ready.some((plan) => plan.seconds === null) ? "" : `, about ${duration(ready.reduce((sum, plan) => sum + plan.seconds, 0))}`;
  const size = bytes(ready.reduce((sum, plan) => sum + plan.bytes, 0));
  write(byId("estimate"), pictures.length ? `${many}${seconds}, at most ${size}.` : "No picture yet.");
  byId("go").disabled = !wanted().length;
  write(byId("go"), wanted().length > 1 ? `Enlarge ${count(wanted().length)}` : "Enlarge");
  const ours = jobs.filter((job) => job.kind === "upscale");
  byId("cancel-all").hidden = ours.filter(active).length < 2;
  byId("download-all").hidden = ours.filter((job) => job.state === "done").length < 2;
  byId("remove-all").hidden = !pictures.length;
}

const finished = new Set();
async function refresh() {
  const [first, second] = await Promise.all([get("/api/pictures"), get("/api/jobs")]);
  pictures = first.pictures;
  jobs = second.jobs.filter((job) => job.kind === "upscale");
  const fresh = jobs.filter((job) => job.state === "done" && !finished.has(job.id));
  fresh.forEach((job) => finished.add(job.id));
  if (fresh.length) plans = new Map([...plans].map(([id, one]) => [id, { ...one, key: "" }])); // paces are known better now
  show();
  if (fresh.length || pictures.some((one) => !plans.has(one.id))) makePlans();
  const last = fresh.at(-1);
  const shown = last && pictures.find((one) => one.id === last.about.picture);
  if (shown && (compared === null || jobs.find((job) => job.id === compared)?.about.picture === shown.id)) await compare(shown, last);
  // Once the speed has been measured, the times are asked for again.
  const measured = !second.jobs.some((job) => job.kind === "measure" && active(job));
  if (measured && [...plans.values()].some((one) => one.measuring && one.plan.seconds === null)) {
    for (const one of plans.values()) if (one.measuring) one.key = "";
    makePlans();
  }
  return jobs.some(active) || !measured;
}
const again = watch(refresh);

form.addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    const ready = wanted().map((one) => one.id);
    const where = form.querySelector("[name=where]:checked").value;
    const { errors } = await post("/api/upscale", { pictures: ready, settings: settings(), format: byId("format").value, beside: where === "beside" });
    if (errors.length) problem(errors[0] + (errors.length > 1 ? ` (and ${errors.length - 1} more)` : ""));
    again();
  });
});

const send = (files) => files.length && attempt(() => upload(files, () => again()));
byId("choose-files").addEventListener("click", () => byId("files").click());
byId("choose-folder").addEventListener("click", () => byId("folder-files").click());
byId("files").addEventListener("change", (event) => { send([...event.target.files]); event.target.value = ""; });
byId("folder-files").addEventListener("change", (event) => { send([...event.target.files].filter((file) => !file.name.startsWith("."))); event.target.value = ""; });
byId("choose-here").addEventListener("click", () => choose("pictures", (path) => attempt(async () => { const { note } = await post("/api/pictures", { path }); if (note) problem(note); again(); })));

for (const kind of ["dragenter", "dragover"]) addEventListener(kind, (event) => { event.preventDefault(); byId("drop").classList.add("over"); });
addEventListener("dragleave", () => byId("drop").classList.remove("over"));
addEventListener("drop", async (event) => { event.preventDefault(); byId("drop").classList.remove("over"); send(await dropped(event.dataTransfer)); });

byId("cancel-all").addEventListener("click", () => attempt(async () => { await post("/api/jobs/cancel", { jobs: jobs.filter(active).map((job) => job.id) }); again(); }));
byId("remove-all").addEventListener("click", () => attempt(async () => {
  await post("/api/jobs/cancel", { jobs: jobs.filter(active).map((job) => job.id) });
  await post("/api/pictures/remove", { pictures: pictures.map((one) => one.id) });
  byId("viewer").hidden = true;
  compared = null;
  again();
}));
changed();
