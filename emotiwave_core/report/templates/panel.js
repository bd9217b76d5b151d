"use strict";
// Every number is read from the page's own data; names only ever become text, never markup.
(() => {
  const at = (id) => document.getElementById(id);
  const data = JSON.parse(at("panel-data").textContent);
  const place = new Map(data.configurations.map((mask, k) => [mask, k]));
  const panel = at("panel");
  const toggles = [...panel.querySelectorAll("button[data-modality]")];
  const rows = [...panel.querySelectorAll("tr[data-class]")];
  const list = at("panel-sample");
  const names = toggles.map((button) => button.textContent);
  const classes = rows.map((row) => row.querySelector(".name").textContent);
  const isNumbers = rows.some((row) => row.dataset.low !== undefined);
  const ends = rows.map((row) => [Number(row.dataset.low), Number(row.dataset.high)]);
  // Of numbers a sample has no decisions beside them, and its values are no thousandths.
  if (isNumbers) data.samples = data.samples.map(([id, truth, values, lacks]) => [id, truth, values, values, lacks]);
  const all = 2 ** toggles.length - 1;
  let sample = 0; // index in data.samples
  let on = all; // bit m: modality m is on, recorded or not

  const series = (words) =>
    words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words[words.length - 1]}`;
  const number = (value) => value.toFixed(3).replace("-", "\u2212");
  const numbered = (values) =>
    values.length < 2 ? values.map(number).join("") : values.map((value, c) => `${classes[c]} ${number(value)}`).join(", ");
  const moved = (by) => (by > 0 ? "+" : "") + number(by);
  const namedClasses = (indices) => (indices.length ? series(indices.map((c) => classes[c])) : "no emotion");
  const named = isNumbers ? numbered : namedClasses;
  const same = (a, b) => a.length === b.length && a.every((value, i) => value === b[i]);
  const percent = (permille) => `${(permille / 10).toFixed(1)}%`;
  const change = (permille) => (permille > 0 ? "+" : permille < 0 ? "\u2212" : "") + (Math.abs(permille) / 10).toFixed(1);

  const printed = (value) => (isNumbers ? number(value) : percent(value));
  const part = (value, c) =>
    isNumbers ? (ends[c][1] > ends[c][0] ? (value - ends[c][0]) / (ends[c][1] - ends[c][0]) : 0.5) : value / 1000;
  const tagsOf = (truth, decided, c) =>
    isNumbers
      ? [`true ${number(truth[c])}`]
      : [truth.includes(c) && "true", decided.includes(c) && "decided"].filter(Boolean);

  const recorded = () => all & ~data.samples[sample][4] || all; // the last entry has a bit for each it lacks

  function show(note) {
    const [, truth, decided, values] = data.samples[sample];
    const has = recorded();
    const without = names.filter((_, m) => !(has & (1 << m)));
    if (!(on & has)) {
      const left = names.filter((_, m) => on & (1 << m));
      note = `${series(left)} ${left.length < 2 ? "was" : "were"} not recorded here; everything that was is on again.`;
      on = all;
    }
    const heard = on & has; // what the model answers from
    const k = place.get(heard);
    const whole = place.get(has);
    rows.forEach((row, c) => {
      const value = values[k][c];
      const tags = tagsOf(truth, decided[k], c);
      const by = value - values[whole][c];
      row.classList.toggle("here", !isNumbers && decided[k].includes(c));
      row.querySelector(".value").textContent = printed(value);
      row.querySelector("i").style.setProperty("--v", part(value, c));
      row.querySelector("b").style.setProperty("--v", part(values[whole][c], c));
      row.querySelector(".change").textContent = heard === has ? "\u2013" : isNumbers ? moved(by) : change(by);
      row.querySelector(".tags").textContent = tags.length ? `\u00b7 ${tags.join(", ")}` : "";
    });
    toggles.forEach((button, m) => {
      button.disabled = !(has & (1 << m));
      button.textContent = button.disabled ? `${names[m]}: not recorded` : names[m];
      button.setAttribute("aria-pressed", String(Boolean(heard & (1 << m))));
      button.setAttribute("aria-disabled", String(button.disabled || heard === 1 << m));
    });
    const off = names.filter((_, m) => has & ~on & (1 << m));
    const rest = without.length ? `With all there is (no ${series(without)})` : "With everything on";
    const right = same(decided[k], truth) ? "right" : "wrong";
    const judged = isNumbers ? `true ${named(truth)}` : right;
    at("panel-truth").textContent = named(truth);
    at("panel-decided").textContent = isNumbers ? named(decided[k]) : `${named(decided[k])} (${right})`;
    at("panel-changed").textContent =
      heard === has ? "nothing is off" : same(decided[k], decided[whole]) ? "no" : `yes, it was ${named(decided[whole])}`;
    at("panel-says").textContent =
      note || `${off.length ? `Without ${series(off)}` : rest}: ${named(decided[k])}, ${judged}.`;
    list.value = String(sample);
    const shown = [...list.options].findIndex((option) => option.value === list.value);
    at("panel-previous").disabled = shown <= 0;
    at("panel-next").disabled = shown < 0 || shown >= list.options.length - 1;
  }

  function remember() {
    const off = names.filter((_, m) => !(on & (1 << m))).map(encodeURIComponent);
    const hash = `#sample=${encodeURIComponent(data.samples[sample][0])}${off.length ? `&off=${off.join(",")}` : ""}`;
    history.replaceState(null, "", hash);
  }

  function plain(text) {
    try {
      return decodeURIComponent(text);
    } catch {
      return text; // a link that was cut
    }
  }

  // Shows what the address asks for; false where it asks for no sample.
  function recall() {
    const found = /^#sample=([^&]*)(?:&off=([^&]*))?$/.exec(location.hash);
    if (!found) return false;
    const id = plain(found[1]);
    const off = (found[2] || "").split(",").map(plain);
    const index = data.samples.findIndex((one) => one[0] === id);
    if (index >= 0) {
      sample = index;
      on = names.reduce((mask, name, m) => (off.includes(name) ? mask & ~(1 << m) : mask), all) || all;
      find.value = "";
      fill();
    }
    show(index < 0 ? `There is no sample ${id} on this page.` : "");
    return true;
  }

  function fill() {
    const wanted = find.value.toLowerCase().split(/\s+/);
    const options = data.samples.flatMap(([id, truth, decided], index) => {
      const last = decided[decided.length - 1];
      const right = same(truth, last) ? ", right" : `, wrong: ${named(last)}`;
      const words = `${id}: ${isNumbers ? `true ${named(truth)}, predicted ${named(last)}` : `${named(truth)}${right}`}`;
      if (!wanted.every((word) => words.toLowerCase().includes(word))) return [];
      const option = document.createElement("option");
      option.value = String(index);
      option.textContent = words;
      return [option];
    });
    list.replaceChildren(...options);
    const counted = at("panel-found");
    counted.textContent = options.length ? `${options.length} of ${data.samples.length}` : counted.dataset.none;
  }

  function pick(index) {
    sample = index;
    show();
    remember();
  }

  toggles.forEach((button, m) => {
    button.addEventListener("click", () => {
      const last = (on & recorded()) === 1 << m;
      if (!last) on ^= 1 << m;
      show(last ? `${names[m]} is the last one on: at least one modality stays on.` : "");
      remember();
    });
  });
  const step = (by) => pick(Number(list.options[list.selectedIndex + by].value));
  at("panel-previous").addEventListener("click", () => step(-1));
  at("panel-next").addEventListener("click", () => step(1));
  list.addEventListener("change", () => pick(Number(list.value)));
  const find = at("panel-find");
  find.addEventListener("input", () => {
    fill();
    if (![...list.options].some((option) => option.value === String(sample)) && list.options.length) {
      pick(Number(list.options[0].value));
    } else show();
  });
  window.addEventListener("hashchange", () => recall() && panel.scrollIntoView());

  at("panel-off").hidden = true;
  at("panel-on").hidden = false;
  fill();
  if (recall()) panel.scrollIntoView();
  else show();
})();
