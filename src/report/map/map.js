"use strict";
(() => {
  const map = document.getElementById("map"), tip = document.getElementById("tip");
  const frame = map.closest(".frame"), whole = map.viewBox.baseVal;
  const full = { x: 0, y: 0, w: whole.width, h: whole.height };
  let view = { ...full };
  for (const hidden of [document.getElementById("how"), frame.querySelector(".buttons")]) hidden.hidden = false;
  map.classList.add("live");

  const draw = () => {
    view.w = Math.min(full.w, Math.max(full.w / 60, view.w));
    view.h = view.w * full.h / full.w;
    view.x = Math.min(full.w - view.w, Math.max(0, view.x));
    view.y = Math.min(full.h - view.h, Math.max(0, view.y));
    map.setAttribute("viewBox", `${view.x} ${view.y} ${view.w} ${view.h}`);
    // Pictures grow more slowly than distances, so that crowds come apart.
    map.style.setProperty("--k", Math.pow(view.w / full.w, 0.5).toFixed(4));
  };
  const zoom = (factor, at) => {
    const box = map.getBoundingClientRect();
    const px = at ? (at.x - box.left) / box.width : 0.5, py = at ? (at.y - box.top) / box.height : 0.5;
    const w = Math.min(full.w, Math.max(full.w / 60, view.w * factor)), h = w * full.h / full.w;
    view = { x: view.x + px * (view.w - w), y: view.y + py * (view.h - h), w, h };
    draw();
  };

  map.addEventListener("wheel", (event) => {
    event.preventDefault();
    tip.hidden = true;
    zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.004), { x: event.clientX, y: event.clientY });
  }, { passive: false });
  document.getElementById("in").onclick = () => zoom(0.6);
  document.getElementById("out").onclick = () => zoom(1 / 0.6);
  document.getElementById("all").onclick = () => { view = { ...full }; draw(); };

  const down = new Map();
  map.addEventListener("pointerdown", (event) => { down.set(event.pointerId, event); map.setPointerCapture(event.pointerId); });
  map.addEventListener("pointermove", (event) => {
    const before = down.get(event.pointerId);
    if (!before) return;
    tip.hidden = true;
    const box = map.getBoundingClientRect(), others = [...down.values()].filter((other) => other.pointerId !== event.pointerId);
    if (others.length) {
      const length = (from) => Math.hypot(from.clientX - others[0].clientX, from.clientY - others[0].clientY);
      const middle = { x: (event.clientX + others[0].clientX) / 2, y: (event.clientY + others[0].clientY) / 2 };
      zoom(length(before) / Math.max(1, length(event)), middle);
    } else {
      view.x -= (event.clientX - before.clientX) / box.width * view.w;
      view.y -= (event.clientY - before.clientY) / box.height * view.h;
      draw();
    }
    down.set(event.pointerId, event);
  });
  for (const end of ["pointerup", "pointercancel"]) map.addEventListener(end, (event) => down.delete(event.pointerId));

  // The browser's own tip would stand beside ours; without a script it is all there is.
  for (const title of map.querySelectorAll("title")) {
    title.parentNode.dataset.name = title.textContent;
    title.remove();
  }
  map.addEventListener("pointerover", (event) => {
    const point = event.target.closest(".p");
    if (!point || down.size) { tip.hidden = true; return; }
    const image = point.querySelector("image"), [group] = point.getAttribute("class").match(/g\d+/);
    tip.className = group;
    tip.textContent = point.dataset.name;
    if (image) {
      const copy = document.createElement("img");
      copy.alt = "";
      copy.src = image.getAttribute("href");
      tip.prepend(copy);
    }
    tip.hidden = false;
    const box = frame.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    tip.style.left = `${Math.max(4, x + 200 > box.width ? x - 200 : x + 16)}px`;
    tip.style.top = `${Math.max(4, Math.min(y + 16, box.height - tip.offsetHeight - 4))}px`;
  });
  map.addEventListener("pointerleave", () => { tip.hidden = true; });

  const chosen = new Set();
  for (const entry of document.querySelectorAll(".legend li")) {
    entry.classList.add("button");
    entry.tabIndex = 0;
    entry.setAttribute("role", "button");
    const choose = () => {
      const group = `g${entry.dataset.group}`;
      const on = !chosen.delete(group);
      if (on) chosen.add(group);
      entry.classList.toggle("on", on);
      entry.setAttribute("aria-pressed", on);
      for (const point of map.querySelectorAll(".p")) {
        point.classList.toggle("off", chosen.size > 0 && ![...chosen].some((name) => point.classList.contains(name)));
      }
    };
    entry.onclick = choose;
    entry.onkeydown = (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(); }
    };
  }
})();
