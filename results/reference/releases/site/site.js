"use strict";
// Draws details when they are opened; sorts and filters the tables of reports and sites, and says
// where one goes on beyond the edge.
(() => {
  const FEW_ROWS = 8;

  const number = text => {
    const plain = text.trim().replace(/\u2212/g, "-").replace(/(\d),(?=\d{3})/g, "$1");
    const found = /^(-?(?:\d+\.?\d*(?:e[+-]?\d+)?|∞))/.exec(plain);
    return found ? Number(found[1].replace("∞", "Infinity")) : NaN;
  };
  const shown = cell => (cell.querySelector(".value, bdi") ?? cell).textContent.trim();
  const key = cell => cell.dataset.sort ?? shown(cell);
  const absent = text => text === "" || /^[–†]+$/.test(text);

  function compare(a, b, numeric) {
    if (absent(a) || absent(b)) return absent(a) - absent(b);
    return numeric ? number(a) - number(b) : a.localeCompare(b, "en", { numeric: true });
  }

  function sort(table, column, direction) {
    const body = table.tBodies[0];
    table.unsorted ??= [...body.rows];
    const keyed = table.unsorted.map(row => [key(row.cells[column]), row]);
    const numeric = keyed.every(([key]) => absent(key) || !Number.isNaN(number(key)));
    if (direction) {
      const sign = direction === "descending" ? -1 : 1;
      // What is absent stands last, whichever way the rest is sorted.
      keyed.sort(([a], [b]) => compare(a, b, numeric) * (absent(a) || absent(b) ? 1 : sign));
    }
    body.append(...keyed.map(([, row]) => row));
  }

  function addSorting(table) {
    const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    heads.forEach((head, column) => {
      if (head.classList.contains("fixed")) return;
      const best = head.textContent.includes("↑");
      const order = best ? ["descending", "ascending", ""] : ["ascending", "descending", ""];
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.setAttribute("aria-label", `Sort by ${shown(head)}`);
      button.addEventListener("click", () => {
        const next = order[(order.indexOf(head.getAttribute("aria-sort") ?? "") + 1) % 3];
        heads.forEach(other => other.removeAttribute("aria-sort"));
        if (next) head.setAttribute("aria-sort", next);
        sort(table, column, next);
      });
      (head.querySelector(".tail") ?? head).append(button);
    });
  }

  function addFilter(table) {
    const rows = [...table.tBodies[0].rows];
    const label = document.createElement("label");
    const field = document.createElement("input");
    const count = document.createElement("output");
    field.type = "search";
    label.append("Filter rows ", field);
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let left = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every(word => text.includes(word));
        left += !row.hidden;
      }
      count.textContent = words.length ? `${left} of ${rows.length} rows` : "";
    });
    const line = document.createElement("p");
    line.className = "filter";
    line.append(label, " ", count);
    table.closest(".scroll").before(line);
  }

  const cue = () => {
    for (const box of document.querySelectorAll(".scroll")) {
      box.classList.toggle("wide", box.scrollWidth > box.clientWidth + 1);
    }
  };

  function equip(root) {
    for (const table of root.querySelectorAll("table.sorts")) {
      const rows = table.tBodies[0].rows.length;
      if (rows > 1) addSorting(table);
      if (rows > FEW_ROWS) addFilter(table);
    }
    cue();
  }

  function draw(fold) {
    const held = fold.querySelector(":scope > template");
    if (!held) return;
    const part = document.createElement("div");
    part.append(held.content);
    held.replaceWith(part);
    equip(part);
  }

  equip(document);
  addEventListener("resize", cue);
  document.addEventListener("toggle", event => {
    if (event.target.open) draw(event.target);
    cue();
  }, true);

  const place = () => {
    try {
      return decodeURIComponent(location.hash.slice(1));
    } catch {
      return ""; // no address of ours
    }
  };
  const unfold = () => {
    const id = place();
    for (const held of id ? document.querySelectorAll("template") : []) {
      if (held.content.getElementById(id)) draw(held.parentElement);
    }
    const target = document.getElementById(id);
    for (let one = target?.closest("details"); one; one = one.parentElement.closest("details")) {
      one.open = true;
    }
    target?.scrollIntoView();
  };
  addEventListener("hashchange", unfold);
  if (location.hash) unfold();
})();
