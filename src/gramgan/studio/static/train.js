// The page Train.

import { active, attempt, byId, get, h, jobLine, post, reconcile, say, showJob, watch, write } from "./core.js";

const form = byId("start");
const ticked = new Set();
let runs = [];

// The few settings that matter, with the preset's own values.
async function showPreset() {
  const database = byId("field-database").value;
  const found = await get(`/api/preset?preset=${encodeURIComponent(byId("preset").value)}&database=${encodeURIComponent(database)}`);
  write(byId("about"), found.about);
  byId("fields").replaceChildren(...found.fields.map((one) => {
    const id = `set-${one.name}`;
    const same = { id, name: one.name, "aria-describedby": `${id}-help` };
    const value = one.value === null ? "" : String(one.value);
    const input = one.choices.length
      ? h("select", same, ...one.choices.map((choice) => h("option", { selected: choice === value }, choice)))
      : h("input", { ...same, type: one.kind === "number" ? "number" : "text", step: one.whole ? "1" : "any", value });
    input.dataset.default = value;
    return h("div", { class: "field" }, h("label", { for: id }, one.label), input, one.help ? h("p", { class: "quiet", id: `${id}-help` }, one.help) : h("span", { id: `${id}-help`, hidden: true }));
  }));
}
byId("preset").addEventListener("change", () => attempt(showPreset));
byId("field-database").addEventListener("change", () => attempt(showPreset));
attempt(showPreset);

function settings() {
  const found = {};
  for (const field of byId("fields").querySelectorAll("[name]")) if (field.value !== field.dataset.default) found[field.name] = field.value;
  return found;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    const started = await post("/api/runs/start", { preset: byId("preset").value, photos: byId("field-photos").value, database: byId("field-database").value, name: byId("name").value, settings: settings(), more: byId("more").value });
    ticked.clear();
    ticked.add(started.run);
    say("The training has been started.");
    again();
  });
});

byId("check").addEventListener("click", () => attempt(async () => { await post("/api/prepare", { photos: byId("field-photos").value, preset: byId("preset").value }); again(); }));

function makeRun(run) {
  const tick = h("input", { type: "checkbox", onchange: () => { if (tick.checked) ticked.add(run.run); else ticked.delete(run.run); again(); } });
  return h("li", { class: "card plain" }, h("div", { class: "head" }, h("h3", {}, h("label", {}, tick, ` ${run.name}`)), h("p", { class: "row" })), h("p", { class: "quiet state" }), h("progress", { max: 1, value: 0, "aria-label": `${run.name}: iterations` }), h("p", { class: "warning error" }));
}

function updateRun(card, run) {
  card.querySelector("input").checked = ticked.has(run.run);
  card.classList.toggle("chosen", ticked.has(run.run));
  const state = run.running ? "running" : run.finished ? "finished" : "stopped";
  const scores = Object.entries(run.scores).map(([name, value]) => `${name} ${value}`);
  const warned = Array.isArray(run.warnings) ? run.warnings.length : run.warnings;
  const parts = [state, run.preset && `preset ${run.preset}`, run.total && `iteration ${run.iteration} of ${run.total}`, ...scores, warned && `${warned} warnings`];
  write(card.querySelector(".state"), parts.filter(Boolean).join(" · "));
  const bar = card.querySelector("progress");
  bar.hidden = !run.running;
  if (run.total) { bar.max = run.total; bar.value = run.iteration; } else bar.removeAttribute("value");
  write(card.querySelector(".error"), run.error);
  const row = card.querySelector(".row");
  if (row.dataset.state === state) return;
  row.dataset.state = state;
  const act = (text, path) => h("button", { type: "button", "aria-label": `${text} ${run.name}`, onclick: (event) => { event.target.disabled = true; attempt(async () => { await post(path, { run: run.run }); again(); }).finally(() => setTimeout(() => { event.target.disabled = false; }, 3000)); } }, text);
  row.replaceChildren(...(run.running ? [act("Stop", "/api/runs/stop")] : run.finished ? [] : [act("Resume", "/api/runs/resume")]));
}

const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));

function showDetails(all) {
  byId("watched").hidden = !all.length;
  if (!all.length) return;
  write(byId("watched-title"), all.map((one) => one.name).join(" and "));
  const list = all.map((one) => one.run).join("\n");
  byId("report").href = `/reports/runs?runs=${encodeURIComponent(list)}`;
  byId("report").hidden = all.some((one) => !one.total);
  byId("facts").replaceChildren(...all.map((one) => h("section", { "aria-label": `Figures of ${one.name}` },
    all.length > 1 ? h("h3", {}, one.name) : null,
    h("dl", { class: "facts" }, fact("stage", one.stage), ...(one.speed ? [fact("speed", one.speed)] : []), ...(one.left ? [fact("left", one.left)] : []),
      ...Object.entries(one.losses).map(([name, value]) => fact(`loss: ${name}`, value)),
      ...Object.entries(one.database).map(([name, value]) => fact(`database: ${name}`, value)),
      ...Object.entries(one.scores).map(([name, value]) => fact(`best ${name}`, value))),
    ...one.warnings.map((text) => h("p", { class: "warning" }, text)),
    one.error ? h("p", { class: "warning" }, one.error) : null)));
  const curves = byId("curves");
  const stamp = `${list} ${all.map((one) => one.iteration).join()}`;
  if (all.some((one) => Object.keys(one.losses).length) && curves.dataset.stamp !== stamp) {
    curves.dataset.stamp = stamp;
    curves.hidden = false;
    curves.alt = `Losses, learning rate and statistics over the iterations of ${all.map((one) => one.name).join(" and ")}`;
    curves.src = `/api/curves?runs=${encodeURIComponent(list)}&at=${encodeURIComponent(stamp)}`;
  }
  if (!all.some((one) => Object.keys(one.losses).length)) curves.hidden = true;
  const rows = all.flatMap((one) => one.samples.map((sample) => ({ ...sample, run: one.run, name: one.name })));
  const key = JSON.stringify(rows);
  if (byId("samples").dataset.key === key) return;
  byId("samples").dataset.key = key;
  byId("samples").replaceChildren(...rows.map((row) => h("section", { "aria-label": `Samples of ${row.image}, ${row.name}` },
    h("h3", {}, `${row.image}${all.length > 1 ? `, ${row.name}` : ""} over time`),
    h("div", { class: "strip", tabIndex: 0, role: "group", "aria-label": `${row.image} over time, ${row.name}` }, ...row.files.map((file) => {
      const title = file.replace(".png", "").replace(/^0+(?=\d)/, "iteration ");
      const path = `/api/sample?run=${encodeURIComponent(row.run)}&image=${encodeURIComponent(row.image)}&file=${encodeURIComponent(file)}`;
      return h("figure", {}, h("img", { src: path, alt: `${row.image}: ${title}`, loading: "lazy" }), h("figcaption", {}, title));
    })))));
}

const again = watch(async () => {
  const [found, queue] = await Promise.all([get("/api/runs"), get("/api/jobs")]);
  runs = found.runs;
  byId("empty").hidden = runs.length > 0;
  if (!ticked.size && runs.length) ticked.add(runs[0].run);
  reconcile(byId("runs"), runs, (run) => run.run, makeRun, updateRun);
  const checks = queue.jobs.filter((job) => job.kind === "prepare");
  reconcile(byId("checks"), checks, (job) => job.id, jobLine, (line, job) => showJob(line, job, job.state === "done" ? job.result.said : job.title, (ended) => (ended.result.page ? [h("a", { class: "button", href: `/pages/${ended.id}`, target: "_blank" }, "Report")] : [])));
  const chosen = runs.filter((run) => ticked.has(run.run));
  showDetails(await Promise.all(chosen.map((run) => get(`/api/run?run=${encodeURIComponent(run.run)}`))));
  return runs.some((run) => run.running) || checks.some(active);
}, 1500, 5000);
