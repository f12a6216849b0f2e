// Parts of a page that follow what happens. Without this file such a page shows how it is, and how to ask again.
"use strict";

// <div id="x" data-again="5"> is asked for again every five seconds, while somebody sees it and nobody types in it.
for (const box of document.querySelectorAll("[data-again][id]")) {
  const pause = document.querySelector(`[data-pause="${box.id}"]`);
  let on = true;
  if (pause) {
    pause.hidden = false;
    pause.addEventListener("click", () => {
      on = !on;
      pause.setAttribute("aria-pressed", String(!on));
    });
  }
  setInterval(async () => {
    if (!on || document.hidden || box.contains(document.activeElement)) { return; }
    try {
      const answer = await fetch(location.href, { credentials: "same-origin" });
      if (!answer.ok) { return; }
      const there = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(box.id);
      if (there && !box.contains(document.activeElement)) { box.replaceChildren(...there.childNodes); }
    } catch { /* the house is not there at this moment: the next time */ }
  }, Number(box.dataset.again) * 1000);
}

// <pre data-lines="/path"> gets the lines that a stream of events tells, the newest last, and at most two thousand of them.
for (const box of document.querySelectorAll("[data-lines]")) {
  const state = document.getElementById(box.dataset.state);
  const say = (text) => { if (state) { state.textContent = text; } };
  const stream = new EventSource(box.dataset.lines);
  stream.addEventListener("open", () => say("Live: lines come here as they are written."));
  stream.addEventListener("error", () => say(stream.readyState === EventSource.CLOSED ? "It has ended. Load the page again to go on." : "Not connected: trying again."));
  stream.addEventListener("end", () => { stream.close(); say("It has ended. Load the page again to go on."); });
  stream.addEventListener("message", (e) => {
    const low = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
    const line = document.createElement("span");
    line.textContent = e.data + "\n";
    box.append(line);
    while (box.childElementCount > 2000) { box.firstElementChild.remove(); }
    if (low) { box.scrollTop = box.scrollHeight; }
  });
}
