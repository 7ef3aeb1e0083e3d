// The page Textures.

import { active, attempt, byId, choose, get, h, jobLine, post, reconcile, showJob, upload, watch, write } from "./core.js";
import { Viewer } from "./viewer.js";

let database = "";
const viewer = new Viewer(byId("viewer"), { picked: (x, y) => attempt(() => lookUp(x, y)) });

const fields = () => Object.fromEntries(["photos", "name", "patches", "domain", "licence"].map((name) => [name, (byId(`field-${name}`) || byId(name)).value]));

byId("build").addEventListener("submit", (event) => { event.preventDefault(); attempt(async () => { await post("/api/databases/build", fields()); again(); }); });
byId("add").addEventListener("click", () => attempt(async () => {
  if (!database) throw new Error("no database is chosen; choose one of the list");
  await post("/api/databases/add", { ...fields(), database });
  again();
}));

async function lookUp(x, y) {
  if (!database) throw new Error("no database is chosen; choose one of the list");
  const found = await post("/api/spot", { database, picture: byId("picture").value, x, y, photos: byId("field-photos").value });
  byId("matches").replaceChildren(
    h("p", { class: "quiet" }, `Pixel ${x}, ${y}: the nearest real textures, the nearest first. Below each: how far it is from what is there, and that as a share of the distance to a texture drawn at random.`),
    h("div", { class: "matches" }, ...found.matches.map((one, number) => h("figure", {},
      h("img", { src: one.image, alt: `Texture ${number + 1} in its surroundings, from ${one.photograph}` }),
      h("figcaption", {}, h("strong", {}, `${one.distance} (${one.relative})`), h("br"), `${one.photograph} at ${one.at}`, h("br"), [one.author, one.licence, one.domain].filter(Boolean).join(" · "))))));
}

function makeDatabase(one) {
  const pick = h("input", { type: "radio", name: "database", onchange: () => { database = one.path; again(); } });
  return h("li", { class: "card plain" }, h("div", { class: "head" }, h("h3", {}, h("label", {}, pick, ` ${one.name}`)),
    h("p", { class: "row" }, h("button", { type: "button", "aria-label": `Map and galleries of ${one.name}`, onclick: () => attempt(async () => { await post("/api/databases/show", { database: one.path, photos: byId("field-photos").value }); again(); }) }, "Map and galleries"))),
    h("p", { class: "quiet about" }));
}

let shown = "";
function showMap(job) {
  byId("map-section").hidden = false;
  write(byId("map-title"), `Map and galleries: ${job.result.said}`);
  byId("map").src = `/pages/${job.id}`;
  shown = job.id;
}

async function showPicture() {
  const { value } = byId("picture");
  if (value) await viewer.show({ left: value });
}
byId("picture").addEventListener("change", () => attempt(showPicture));

let known = "";
async function showPictures() {
  const { pictures } = await get("/api/pictures");
  const key = JSON.stringify(pictures);
  if (key === known) return;
  known = key;
  const before = byId("picture").value;
  byId("picture").replaceChildren(...pictures.map((one) => h("option", { value: `picture-${one.id}`, selected: `picture-${one.id}` === before }, one.name)));
  if (byId("picture").value !== before || !before) await showPicture();
}

const seen = new Set();
const again = watch(async () => {
  const { jobs } = await get("/api/jobs");
  const own = jobs.filter((job) => job.kind === "textures");
  const fresh = own.filter((job) => job.state === "done" && !seen.has(job.id));
  fresh.forEach((job) => seen.add(job.id));
  const { databases } = await get("/api/databases");
  if (!database && databases.length) database = databases[0].path;
  byId("empty").hidden = databases.length > 0;
  reconcile(byId("databases"), databases, (one) => one.path, makeDatabase, (card, one) => {
    card.querySelector("input").checked = one.path === database;
    card.classList.toggle("chosen", one.path === database);
    write(card.querySelector(".about"), one.about);
  });
  reconcile(byId("jobs"), own, (job) => job.id, jobLine, (line, job) => showJob(line, job, job.title, (ended) => (ended.result.page ? [h("button", { type: "button", onclick: () => showMap(ended) }, "Show")] : [])));
  const map = fresh.filter((job) => job.result.page).at(-1);
  if (map && map.id !== shown) showMap(map);
  await showPictures();
  return own.some(active);
}, 700, 3000);

byId("choose-files").addEventListener("click", () => byId("files").click());
byId("files").addEventListener("change", (event) => { const files = [...event.target.files]; attempt(() => upload(files, () => again())); event.target.value = ""; });
byId("choose-here").addEventListener("click", () => choose("pictures", (path) => attempt(async () => { await post("/api/pictures", { path }); again(); })));
