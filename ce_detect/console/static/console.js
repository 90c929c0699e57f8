// Keys press what is on the page; every page also works without this file.
"use strict";

const typing = (element) => element.closest("input, textarea, select") !== null;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && typing(event.target)) {
    event.target.blur();
    return;
  }
  if (typing(event.target)) return;
  const focused = document.querySelector(`[data-focus="${CSS.escape(event.key)}"]`);
  if (focused) {
    focused.focus();
    event.preventDefault();
    return;
  }
  const onLink = event.key === "Enter" && event.target.closest("a, button, summary");
  const pressed = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (pressed && !onLink) {
    event.preventDefault();
    if (!event.repeat) pressed.click();
    return;
  }
  if (event.key === "j" || event.key === "k") move(event.key === "j" ? 1 : -1);
});

function move(step) {
  const rows = [...document.querySelectorAll(".row")];
  if (!rows.length) return;
  const place = rows.indexOf(document.activeElement);
  rows[Math.min(rows.length - 1, Math.max(0, place + step))].focus();
}

async function part(address) {
  const answer = await fetch(address, { headers: { "X-Fragment": "1" }, credentials: "same-origin" });
  if (!answer.ok) throw new Error(`answered ${answer.status}`);
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

for (const place of document.querySelectorAll("[data-load]")) {
  part(place.dataset.load)
    .then((found) => place.replaceChildren(...found.body.childNodes))
    .catch(() => place.append(" This did not load; the link still works."));
}

for (const form of document.querySelectorAll("[data-live]")) {
  let waiting;
  let latest = 0;
  form.addEventListener("input", (event) => {
    const shown = event.target.closest("label")?.querySelector("output");
    if (shown) shown.value = event.target.value;
    clearTimeout(waiting);
    waiting = setTimeout(async () => {
      if (!form.checkValidity()) return;
      const address = `${form.getAttribute("action")}?${new URLSearchParams(new FormData(form))}`;
      const mine = ++latest;
      const found = await part(address);
      if (mine !== latest) return;
      const target = form.dataset.live;
      document.querySelector(target).replaceChildren(...found.querySelector(target).childNodes);
      history.replaceState(null, "", address);
    }, 150);
  });
}
