// What /documentation does beyond being read: searches the operations, copies examples, and makes calls to this broker.
// The key is in one field of the page and nowhere else: it is not stored, and sent to this origin only.
"use strict";
(() => {
  const api = document.querySelector(".api"), find = api.querySelector(".find"), key = api.querySelector(".key");
  const make = (name, text, attributes) => Object.assign(document.createElement(name), {textContent: text || ""}, attributes);
  find.hidden = key.hidden = false;
  for (const form of [find, key]) form.addEventListener("submit", event => event.preventDefault());

  // The browser may keep a page that was left: no key and no answer, which may hold a token, stays in it.
  addEventListener("pagehide", () => {
    key.querySelector("input").value = "";
    for (const output of api.querySelectorAll("output")) output.replaceChildren();
  });

  const field = find.querySelector("input"), status = find.querySelector("[role=status]");
  const links = [...api.querySelectorAll(".side ul ul a")].map(link => {
    const article = document.getElementById(link.hash.slice(1));
    return {item: link.parentElement, text: (link.textContent + " " + article.textContent).toLowerCase()};
  });
  const search = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const {item, text} of links) {
      item.hidden = !words.every(word => text.includes(word));
      shown += !item.hidden;
    }
    for (const list of api.querySelectorAll(".side ul ul")) list.parentElement.hidden = !list.querySelector("li:not([hidden])");
    status.textContent = words.length ? (shown ? shown + " of " + links.length + " operations" : "No operation has these words.") : "";
  };
  field.addEventListener("input", search);
  find.addEventListener("submit", () => {
    const first = api.querySelector(".side ul ul li:not([hidden]) a");
    if (first) first.click();
  });
  document.addEventListener("keydown", event => {
    const isTyping = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
    if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      field.select();
      field.focus();
    }
    if (event.key === "Escape" && event.target === field) {
      field.value = "";
      search();
    }
  });
  const mark = () => {
    for (const link of api.querySelectorAll(".side a")) link.ariaCurrent = link.hash === location.hash ? "location" : null;
  };
  addEventListener("hashchange", mark);
  mark();

  // The form of a call: a field for each parameter, the body, a button, and what came back.
  const form = article => {
    const [method, path] = article.dataset.call.split(" ");
    const form = make("form", "", {className: "try", noValidate: true}), fields = [];
    const add = (name, place, element) => {
      element.id = article.id + "-" + place + "-" + name;
      form.append(make("label", name, {htmlFor: element.id}), element);
      fields.push({name, place, element});
    };
    for (const row of article.querySelectorAll("[data-in]")) {
      const name = row.querySelector("code").textContent;
      add(name, row.dataset.in, make("input", "", {value: row.dataset.sample || "", autocomplete: "off", spellcheck: false}));
    }
    const body = article.querySelector(".body");
    if (body) add("Body", "body", make("textarea", "", {value: body.textContent, spellcheck: false}));
    const buttons = make("p", "", {className: "buttons"});
    buttons.append(make("button", "Send " + method, {type: "submit"}));
    const output = make("output");
    form.append(buttons, output);
    form.addEventListener("submit", event => {
      event.preventDefault();
      let target = path, sent;
      const query = new URLSearchParams(), headers = {};
      for (const {name, place, element} of fields) {
        if (place === "path") target = target.replace("{" + name + "}", encodeURIComponent(element.value));
        else if (place === "body") sent = element.value;
        else if (element.value) query.append(name, element.value);
      }
      const secret = key.querySelector("input").value.trim();
      if (/[^!-~]/.test(secret)) return output.replaceChildren(make("p", "No access key has such characters. Copy it again."));
      if (secret) headers["x-access-key"] = secret;
      if (sent !== undefined) headers["content-type"] = "application/json";
      call(api.dataset.base + target + (query.size ? "?" + query : ""), {method, headers, body: sent}, output);
    });
    return form;
  };
  const call = async (url, options, output) => {
    output.replaceChildren(make("p", "Waiting for the answer …"));
    try {
      const answer = await fetch(url, {...options, credentials: "omit", cache: "no-store", redirect: "error", referrerPolicy: "no-referrer"});
      const text = await answer.text();
      let json, shown = text;
      try {
        json = JSON.parse(text);
        shown = JSON.stringify(json, null, 2);
      } catch { /* Shown as it came. */ }
      const heading = answer.status + " " + answer.statusText + ", request " + answer.headers.get("x-request-id");
      output.replaceChildren(make("p", heading), make("pre", shown));
      if (answer.status === 401 && !options.headers["x-access-key"]) output.append(make("p", "Type your access key at the top of the page."));
      if (json && /^https?:/.test(json.url)) {
        const link = make("p");
        link.append(make("a", "Open this URL", {href: json.url, target: "_blank", rel: "noopener noreferrer"}));
        output.append(link);
      }
    } catch (error) {
      output.replaceChildren(make("p", "There was no answer: " + error.message + ". Is the broker still running?"));
    }
  };
  for (const article of api.querySelectorAll("[data-call]")) {
    const details = make("details"), heading = [...article.querySelectorAll("h4")].pop();
    details.append(make("summary", "Try it"));
    details.addEventListener("toggle", () => details.querySelector("form") || details.append(form(article)), {once: true});
    heading.before(details);
  }
  if (navigator.clipboard) {
    const copyable = details => {
      const pre = details.open && details.querySelector(":scope > pre");
      if (!pre || pre.nextElementSibling) return;
      const button = make("button", "Copy", {type: "button", className: "link"});
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(pre.textContent);
        button.textContent = "Copied";
      });
      pre.after(button);
    };
    for (const details of api.querySelectorAll("details")) copyable(details);
    api.addEventListener("toggle", event => copyable(event.target), true);
  }
})();
