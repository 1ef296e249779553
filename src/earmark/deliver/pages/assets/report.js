// Report pages: the values under the pointer, sound of one clip at a time, and reloading while a run goes on.
"use strict";
for (const svg of document.querySelectorAll("svg.chart")) {
  const told = JSON.parse(svg.dataset.chart), line = svg.querySelector(".cursor");
  const out = svg.closest("figure").querySelector("output");
  const show = event => {
    const box = svg.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    let best = null;
    for (const [, points] of told.curves) for (const point of points)
      if (!best || Math.abs(point[2] - x) < Math.abs(best[2] - x)) best = point;
    line.setAttribute("x1", best[2]);
    line.setAttribute("x2", best[2]);
    const said = told.curves.map(([name, points]) => [name, points.find(point => point[0] === best[0])]);
    out.textContent = `${told.x} ${best[0]}: ` + said.filter(([, point]) => point).slice(0, 8)
      .map(([name, point]) => `${name} ${point[1]}`).join(", ");
  };
  svg.addEventListener("pointermove", show);
  svg.addEventListener("pointerleave", () => { line.setAttribute("x1", -9); line.setAttribute("x2", -9); out.textContent = ""; });
}
const sounds = [...document.querySelectorAll("audio")];
for (const audio of sounds) {
  audio.addEventListener("play", () => sounds.forEach(one => { if (one !== audio) one.pause(); }));
  const clip = audio.closest(".clip"), line = clip?.querySelector(".playing");
  if (!line) continue;
  const seconds = Number(clip.dataset.seconds);
  const move = () => {
    line.style.left = `${Math.min(1, audio.currentTime / seconds) * 100}%`;
    if (!audio.paused) requestAnimationFrame(move);
  };
  audio.addEventListener("play", move);
  audio.addEventListener("seeked", move);
  clip.querySelector(".picture").addEventListener("click", event => {
    const own = event.currentTarget.getBoundingClientRect();
    audio.currentTime = (event.clientX - own.left) / own.width * seconds;
    audio.play();
  });
}
const again = document.getElementById("again");
if (again) {
  try { again.checked = sessionStorage.getItem("earmark-reload") === "1"; } catch { /* no storage */ }
  again.addEventListener("change", () => { try { sessionStorage.setItem("earmark-reload", again.checked ? "1" : "0"); } catch { /* none */ } });
  setInterval(() => { if (again.checked) location.reload(); }, 60_000);
}
