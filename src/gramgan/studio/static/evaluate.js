// The page Evaluate.

import { active, attempt, byId, get, h, jobLine, post, reconcile, showJob, watch, write } from "./core.js";

const form = byId("start");
form.addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    const models = [...form.querySelectorAll("[name=models]:checked")].map((box) => box.value);
    await post("/api/evaluate", {
      truth: byId("field-truth").value, low: byId("field-low").value, weights: byId("field-weights").value, models,
      results: [byId("field-results-1").value, byId("field-results-2").value], protocol: byId("protocol").value, degradation: byId("degradation").value,
    });
    again();
  });
});

let shown = "";
function show(job) {
  byId("report").hidden = false;
  byId("report").src = `/pages/${job.id}`;
  byId("report").title = `Scores: ${job.result.said}`;
  shown = job.id;
}

const again = watch(async () => {
  const { jobs } = await get("/api/jobs");
  const own = jobs.filter((job) => job.kind === "evaluate");
  byId("empty").hidden = own.length > 0;
  reconcile(byId("jobs"), own, (job) => job.id, jobLine, (line, job) => showJob(line, job, job.state === "done" ? job.result.said : job.title, (ended) => (ended.state === "done"
    ? [h("button", { type: "button", onclick: () => show(ended) }, "Show"), h("a", { class: "button", href: `/scores/${ended.id}`, download: "scores.csv" }, "Table"), h("a", { class: "button", href: `/pages/${ended.id}`, target: "_blank" }, "Whole page")]
    : [])));
  const last = own.filter((job) => job.state === "done").at(-1);
  if (last && !shown) show(last);
  write(byId("scores-title"), "Scores");
  return own.some(active);
});
