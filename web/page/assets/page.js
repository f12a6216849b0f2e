// What a page does besides its forms, which all work without this file: copying, and asking before what cannot be undone.
"use strict";

for (const b of document.querySelectorAll("button[data-copy]")) {
  if (!navigator.clipboard) { b.hidden = true; continue; }
  b.hidden = false;
  b.addEventListener("click", async () => {
    const from = document.getElementById(b.dataset.copy);
    await navigator.clipboard.writeText(from.value ?? from.textContent);
    const text = b.textContent;
    b.textContent = "Copied";
    setTimeout(() => { b.textContent = text; }, 2000);
  });
}

for (const f of document.querySelectorAll("form[data-ask]")) {
  f.addEventListener("submit", (e) => {
    if (!window.confirm(f.dataset.ask)) { e.preventDefault(); }
  });
}

// A form that is sent twice by a double click makes two of what should be one.
for (const f of document.querySelectorAll("form[method=post]")) {
  f.addEventListener("submit", (e) => {
    if (e.defaultPrevented) { return; }
    for (const b of f.querySelectorAll("button")) { setTimeout(() => { b.disabled = true; }); }
  });
}
window.addEventListener("pageshow", () => {
  for (const b of document.querySelectorAll("form[method=post] button")) { b.disabled = false; }
});
