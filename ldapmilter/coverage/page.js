"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const records = JSON.parse(document.getElementById("records").textContent);
  const {about, summary, statuses, kinds, people, lists, domains, origins, cells} = data;
  const LEVELS = ["account", "group", "policy-group", "cos", "domain", "global"];
  const LEVEL_NAMES = {
    account: "account", group: "the list itself", "policy-group": "policy group", cos: "COS", domain: "domain",
    global: "global config",
  };
  const STATUS_NAMES = {covered: "covered", conditional: "conditional", uncovered: "no copy"};
  const FIRST_CELL = 4;
  const PRINTED = 2000;
  const DOMAINS_SHOWN = 10;
  const at = id => document.getElementById(id);
  const number = n => n.toLocaleString("en");
  const share = (part, whole) => {
    if (!whole) return "–";
    const percent = 100 * part / whole;
    // Never "100 %" while somebody is missing, nor "0 %" while there is somebody.
    if (part < whole && percent > 99.9) return "> 99.9 %";
    if (part && percent < 0.1) return "< 0.1 %";
    return `${percent.toFixed(percent === Math.round(percent) ? 0 : 1)} %`;
  };
  const el = (tag, attributes, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === "text") made.textContent = value;
      else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (value !== null && value !== false) made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  };
  // An address that may break where a reader would break it.
  const breakable = text => text.split(/(?=[@.])/).flatMap((part, index) => index ? [el("wbr"), part] : [part]);
  const columns = about.columns.map(one => ({...one, title: `${one.class}, ${one.direction}`}));

  // -- what a record says ----------------------------------------------------------------
  // A record: [local part, domain, kind, name, cell…]; a cell: [status, copies, expired, invalid, remarks, ended by];
  // a copy: [origin, address], the address beginning with @ where its local part is the record's;
  // an origin: [level, DN, attribute, value, groups, condition, until, reference].
  const addressOf = record => `${record[0]}@${domains[record[1]]}`;
  const copyAddress = (record, copy) => copy[1].startsWith("@") ? record[0] + copy[1] : copy[1];
  const cellOf = (record, index) => cells[record[FIRST_CELL + index]] || null;
  const rdn = dn => dn.split(",")[0].replace(/^[^=]*=/, "");
  const place = origin => {
    if (origin[0] === "account" || origin[0] === "group") return LEVEL_NAMES[origin[0]];
    if (origin[0] === "global") return LEVEL_NAMES.global;
    const name = origin[0] === "domain" ? origin[1].split(",").filter(part => /^dc=/i.test(part)).map(part => part.slice(3)).join(".") : rdn(origin[1]);
    return `${LEVEL_NAMES[origin[0]]} ${name}`;
  };
  const isPerson = record => people.includes(kinds[record[2]]);
  const isList = record => lists.includes(kinds[record[2]]);
  // Zimbra's own accounts lack nothing: nobody expects copies of their mail.
  const mayLack = record => isPerson(record) || isList(record);
  const hasStatus = (record, cell, wanted) =>
    wanted === "expired" ? cell[2].length > 0 : wanted === "invalid" ? cell[3].length > 0
    : statuses[cell[0]] === wanted && (wanted !== "uncovered" || mayLack(record));
  const isOfKind = (record, wanted) =>
    wanted === "people" ? isPerson(record) : wanted === "lists" ? isList(record) : record[2] === Number(wanted);
  const sum = counts => counts ? statuses.reduce((before, status) => before + counts[status], 0) : 0;

  // -- head ------------------------------------------------------------------------------
  const total = Object.values(summary.entries).reduce((one, other) => one + other, 0);
  const kindsText = kinds.filter(kind => summary.entries[kind])
    .map(kind => `${number(summary.entries[kind])} ${kind}${summary.entries[kind] === 1 ? "" : "s"}`).join(", ");
  at("about").textContent = `${kindsText || "Nobody"}, read from ${about.directory} on ${about.began.replace("T", " ").replace("+00:00", " UTC")}`;
  const notes = [...about.notes, ...about.narrowed.map(text => `This report is narrowed: ${text}.`)];
  const invalidCells = summary.columns.reduce((sum, one) => sum + one.invalid, 0);
  if (invalidCells) notes.push("Some values in the directory cannot be used: see the figures, and choose status “something invalid” below.");
  if (summary.without_address) notes.push(`${number(summary.without_address)} entries without an address are left out: no mail reaches them.`);
  at("notes").append(...notes.map(text => el("li", {text})));
  at("notes").hidden = notes.length === 0;
  at("footer").textContent = `Made by ldapmilter ${about.version}. It says what the directory asked for on ${about.day} (UTC), not what was delivered.`;

  // -- figures ---------------------------------------------------------------------------
  const bar = counts => {
    const whole = sum(counts);
    const words = statuses.map(status => `${number(counts[status])} ${STATUS_NAMES[status]}`).join(", ");
    return el("div", {class: "bar", role: "img", "aria-label": words, title: words},
      ...statuses.filter(status => counts[status]).map(status => el("i", {class: status, style: `flex: ${counts[status] / whole} 0 0`})));
  };
  const choose = (index, status, kind) => {
    at("filters").reset();
    at("kind").value = kind;
    at("column").value = String(index);
    at("status").value = status;
    refresh();
    at("rows-title").scrollIntoView({behavior: "smooth"});
  };
  summary.columns.forEach((one, index) => {
    const count = (number_, status, kind) => el("dd", {class: kind ? null : "all"}, number_ ? el("button", {
      type: "button", class: "link", text: number(number_), onclick: () => choose(index, status, kind)}) : "–");
    const [persons, groups, own] = [one.accounts, one.groups, one.system].map(sum);
    const lines = [];
    if (persons && groups) lines.push(el("dt"), el("dd", {class: "soft", text: "people"}), el("dd", {class: "soft", text: "lists"}));
    statuses.filter(status => one.accounts[status] || one.groups[status]).forEach(status => lines.push(
      el("dt", {text: status === "conditional" ? "conditional only" : STATUS_NAMES[status]}),
      ...(persons ? [count(one.accounts[status], status, "people")] : []),
      ...(groups ? [count(one.groups[status], status, "lists")] : [])));
    const line = (text, number_, status, alert) => number_ && lines.push(
      el("dt", {class: alert ? "alert" : null, text}), count(number_, status, ""));
    line("with an expired value", one.expired, "expired");
    line("with an invalid value", one.invalid, "invalid", true);
    const figure = el("div", {class: "figure"}, el("h3", {text: columns[index].title}));
    if (persons) figure.append(
      el("div", {class: "share", text: `${share(one.accounts.covered, persons)} `}, el("small", {text: `of ${number(persons)} ${persons === 1 ? "person" : "people"}`})), bar(one.accounts));
    if (groups) figure.append(
      el("div", {class: "where", text: `${share(one.groups.covered, groups)} of ${number(groups)} ${groups === 1 ? "list" : "lists"}, as recipients`}), bar(one.groups));
    if (!persons && !groups) figure.append(el("p", {class: "soft", text: "nobody"}));
    figure.append(el("dl", {class: persons && groups ? "both" : null}, ...lines));
    if (own) figure.append(el("p", {class: "where", text: `${number(own)} of Zimbra’s own accounts ${own === 1 ? "is" : "are"} not counted`}));
    at("figures").append(figure);
  });

  // -- levels ----------------------------------------------------------------------------
  const usedLevels = LEVELS.filter(level => summary.columns.some(one => one.levels[level]));
  usedLevels.forEach(level => at("levels-key").append(
    el("span", {}, el("i", {style: `background: var(--level-${LEVELS.indexOf(level)})`}), LEVEL_NAMES[level])));
  summary.columns.forEach((one, index) => {
    const used = LEVELS.filter(level => one.levels[level]);
    const words = used.map(level => `${LEVEL_NAMES[level]} ${number(one.levels[level])}`).join(", ") || "no value on any level";
    at("levels").append(el("div", {class: "level"}, el("div", {text: columns[index].title}),
      el("div", {class: "bar", role: "img", "aria-label": words, title: words},
        ...used.map(level => el("i", {style: `flex: ${one.levels[level]} 0 0; background: var(--level-${LEVELS.indexOf(level)})`}))),
      el("div", {class: "words", text: words})));
  });

  // -- domains ---------------------------------------------------------------------------
  const perDomain = [...new Set(summary.columns.flatMap(one => [...Object.keys(one.domains), ...Object.keys(one.group_domains)]))].map(name => {
    const counts = summary.columns.map(one => [one.domains[name], one.group_domains[name]]);
    return {name, counts, lacking: Math.max(0, ...counts.flat().map(one => one ? one.uncovered : 0))};
  }).sort((one, other) => other.lacking - one.lacking || (one.name < other.name ? -1 : 1));
  at("domains").tHead.append(el("tr", {}, el("th", {scope: "col", text: "domain"}), ...columns.map(one => el("th", {scope: "col", text: one.title}))));
  const showDomains = all => {
    at("domains").tBodies[0].replaceChildren(...perDomain.slice(0, all ? undefined : DOMAINS_SHOWN).map(one => el("tr", {},
      el("th", {scope: "row", text: one.name}),
      ...one.counts.map(both => {
        const shown = both.map((counts, index) => sum(counts) ? [bar(counts), el("div", {class: "where",
          text: `${index ? "lists: " : ""}${number(counts.covered)} of ${number(sum(counts))}${counts.uncovered ? `, ${number(counts.uncovered)} without` : ""}`})] : []).flat();
        return el("td", {}, ...(shown.length ? shown : ["–"]));
      }))));
    at("more-domains").hidden = all || perDomain.length <= DOMAINS_SHOWN;
  };
  at("more-domains").textContent = `Show all ${number(perDomain.length)} domains`;
  at("more-domains").addEventListener("click", () => showDomains(true));
  at("domains-section").hidden = perDomain.length < 2;
  showDomains(false);

  // -- rows ------------------------------------------------------------------------------
  const body = at("rows").tBodies[0];
  const state = {sort: "address", descending: false, page: 0, found: [], printed: false};
  const open = new Set();
  const originTexts = origins.map(one => one.flat().filter(Boolean).join(" ").toLowerCase());
  const cellTexts = cells.map(cell => [...cell[1], ...cell[2]].map(copy => `${copy[1]} ${originTexts[copy[0]]}`)
    .concat(cell[3], cell[4], cell[5] || "").join(" ").toLowerCase());
  const personal = cells.map(cell => [...cell[1], ...cell[2]].some(copy => copy[1].startsWith("@")));
  const headTexts = records.map(record => `${addressOf(record)} ${record[3]}`.toLowerCase());
  const matchesWord = (record, index, word) => {
    if (headTexts[index].includes(word)) return true;
    for (let column = FIRST_CELL; column < record.length; column += 1) {
      const cell = record[column];
      if (cell < 0) continue;
      if (cellTexts[cell].includes(word)) return true;
      if (personal[cell] && [...cells[cell][1], ...cells[cell][2]].some(copy => copyAddress(record, copy).toLowerCase().includes(word))) return true;
    }
    return false;
  };
  const sortKey = (record, sort) => {
    if (sort === "address") return "";
    if (sort === "kind") return String(record[2]);
    const cell = cellOf(record, Number(sort));
    return cell ? `${cell[0]} ${cell[1].map(copy => copyAddress(record, copy)).join(" ").toLowerCase()}` : "9";
  };

  const find = () => {
    const words = at("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const [column, status, kind, domain] = ["column", "status", "kind", "domain"].map(id => at(id).value);
    const watched = column === "" ? columns.map((_, index) => index) : [Number(column)];
    const found = [];
    records.forEach((record, index) => {
      if (kind !== "" && !isOfKind(record, kind)) return;
      if (domain !== "" && record[1] !== Number(domain)) return;
      if (status !== "" && !watched.some(one => { const cell = cellOf(record, one); return cell && hasStatus(record, cell, status); })) return;
      if (words.every(word => matchesWord(record, index, word))) found.push(index);
    });
    const keys = new Map(found.map(index => [index, sortKey(records[index], state.sort)]));
    const sign = state.descending ? -1 : 1;
    const order = (one, other) => one < other ? -1 : one > other ? 1 : 0;
    found.sort((one, other) => sign * order(keys.get(one), keys.get(other)) || (state.sort === "address" ? sign : 1) * order(headTexts[one], headTexts[other]));
    state.found = found;
  };

  const shortCell = (record, index) => {
    const cell = cellOf(record, index);
    if (!cell) return el("td", {class: "cell where", "data-title": columns[index].title, text: "sends no mail"});
    const [status, copies, expired, invalid, , endedBy] = cell;
    const td = el("td", {class: "cell", "data-title": columns[index].title});
    td.append(el("span", {class: `tag ${statuses[status] !== "uncovered" || mayLack(record) ? statuses[status] : "unexpected"}`, text: STATUS_NAMES[statuses[status]]}));
    if (invalid.length) td.append(el("span", {class: "tag invalid", text: "invalid value"}));
    if (expired.length) td.append(el("span", {class: "tag expired", text: "expired value"}));
    for (const copy of copies.slice(0, 2)) {
      const origin = origins[copy[0]];
      td.append(el("div", {}, ...breakable(copyAddress(record, copy))),
        el("div", {class: "where", text: place(origin) + (origin[5] ? `, only ${columns[index].direction === "sent" ? "to" : "from"} ${origin[5]}` : "")}));
    }
    if (copies.length > 2) td.append(el("div", {class: "where", text: `and ${copies.length - 2} more`}));
    if (!copies.length && statuses[status] === "covered") td.append(el("div", {class: "where", text: "by everybody behind it"}));
    if (!copies.length && endedBy) td.append(el("div", {class: "where", text: `“none” at ${rdn(endedBy)}`}));
    return td;
  };
  const longCopy = (record, copy, expired) => {
    const [level, dn, attribute, value, groups, condition, until, reference] = origins[copy[0]];
    const li = el("li", {}, expired ? `Expired on ${until}: ` : "", el("strong", {text: copyAddress(record, copy)}),
      condition ? ` only with ${condition}` : "", until && !expired ? ` until ${until}` : "", reference ? ` (reference ${reference})` : "");
    li.append(el("div", {class: "where"}, `${LEVEL_NAMES[level]}: `, el("code", {text: `${attribute}: ${value}`}), " at ", el("code", {text: dn}),
      groups.length ? `, by way of ${groups.join(" › ")}` : ""));
    return li;
  };
  const details = (record, width) => {
    const td = el("td", {colspan: width});
    columns.forEach((column, index) => {
      const cell = cellOf(record, index);
      const sameAs = one => columns[one] && columns[one].class === column.class && record[FIRST_CELL + one] === record[FIRST_CELL + index];
      if (!cell || sameAs(index - 1)) return;
      const list = el("ul", {}, ...cell[1].map(copy => longCopy(record, copy, false)));
      if (!cell[1].length && statuses[cell[0]] !== "covered") list.append(el("li", {text: cell[5] ? `no copy: “none” at ${cell[5]} ends inheritance` : "no copy: no value on any level"}));
      list.append(...cell[2].map(copy => longCopy(record, copy, true)));
      list.append(...cell[3].map(text => el("li", {class: "alert", text: `${text}${column.invalid_value === "tempfail" ? " (mail that it concerns waits until it is mended)" : ""}`})));
      list.append(...cell[4].map(text => el("li", {text})));
      td.append(el("h4", {text: sameAs(index + 1) ? `${column.title} and ${columns[index + 1].direction}` : column.title}), list);
    });
    return el("tr", {class: "details"}, td);
  };
  const rowsOf = index => {
    const record = records[index];
    const width = 2 + columns.length;
    const toggle = el("button", {type: "button", "aria-expanded": String(open.has(index)), onclick: () => {
      if (!open.delete(index)) open.add(index);
      draw();
    }}, el("span", {}, ...breakable(addressOf(record))));
    const who = el("td", {class: "who"}, toggle);
    if (record[3]) who.append(el("div", {class: "soft", text: record[3]}));
    const row = el("tr", {}, who, el("td", {class: "kind where", text: kinds[record[2]]}), ...columns.map((_, one) => shortCell(record, one)));
    return open.has(index) ? [row, details(record, width)] : [row];
  };

  const draw = () => {
    const size = state.printed ? PRINTED : Number(at("size").value);
    const pages = Math.max(1, Math.ceil(state.found.length / size));
    state.page = Math.min(Math.max(state.page, 0), pages - 1);
    const begin = state.printed ? 0 : state.page * size;
    const shown = state.found.slice(begin, begin + size);
    body.replaceChildren(...shown.flatMap(rowsOf));
    if (!shown.length) body.append(el("tr", {}, el("td", {class: "empty", colspan: 2 + columns.length, text: records.length ? "Nobody matches." : "Nobody."})));
    const chosen = ["column", "status", "kind", "domain"].filter(id => at(id).value !== "").map(id => at(id).selectedOptions[0].textContent);
    if (at("search").value.trim()) chosen.unshift(`“${at("search").value.trim()}”`);
    at("count").textContent = (state.found.length === records.length ? `${number(records.length)} entries` : `${number(state.found.length)} of ${number(records.length)} entries`)
      + (chosen.length ? `: ${chosen.join("; ")}` : "");
    at("page").textContent = state.found.length ? `${number(begin + 1)}–${number(begin + shown.length)} of ${number(state.found.length)}` : "";
    at("previous").disabled = state.page === 0;
    at("next").disabled = state.page >= pages - 1;
    at("cut").hidden = !(state.printed && state.found.length > shown.length);
    at("cut").textContent = `The first ${number(shown.length)} of ${number(state.found.length)} rows are printed. Narrow the table by its filters to print others.`;
    for (const th of at("rows").tHead.rows[0].cells) {
      th.setAttribute("aria-sort", th.dataset.sort !== state.sort ? "none" : state.descending ? "descending" : "ascending");
    }
  };
  const refresh = () => { state.page = 0; find(); draw(); };

  const header = (title, sort) => el("th", {scope: "col", "data-sort": sort}, el("button", {type: "button", text: title, onclick: () => {
    state.descending = state.sort === sort && !state.descending;
    state.sort = sort;
    refresh();
  }}));
  at("rows").tHead.append(el("tr", {}, header("address", "address"), header("kind", "kind"), ...columns.map((one, index) => header(one.title, String(index)))));
  columns.forEach((one, index) => at("column").append(el("option", {value: index, text: one.title})));
  [[people, "people", "all people"], [lists, "lists", "all lists"]].forEach(([of, value, text]) =>
    of.some(kind => summary.entries[kind]) && at("kind").append(el("option", {value, text})));
  kinds.forEach((kind, index) => summary.entries[kind] && at("kind").append(el("option", {value: index, text: kind})));
  domains.map((name, index) => [name, index]).sort().forEach(([name, index]) => at("domain").append(el("option", {value: index, text: name})));
  let waiting = 0;
  at("search").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(refresh, records.length > 5000 ? 150 : 0); });
  at("filters").addEventListener("change", refresh);
  at("filters").addEventListener("submit", event => { event.preventDefault(); refresh(); });
  at("filters").addEventListener("reset", () => setTimeout(refresh));
  at("previous").addEventListener("click", () => { state.page -= 1; draw(); });
  at("next").addEventListener("click", () => { state.page += 1; draw(); });
  at("size").addEventListener("change", () => { state.page = 0; draw(); });
  addEventListener("beforeprint", () => { state.printed = true; draw(); });
  addEventListener("afterprint", () => { state.printed = false; draw(); });
  refresh();
})();
