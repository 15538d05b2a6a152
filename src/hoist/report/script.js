// The page works without this: it switches language and colours, and hands out the records. `#zh,dark` says what to show.
(() => {
  const root = document.documentElement;
  const languages = root.dataset.languages.split(" ");
  const asked = location.hash.slice(1).split(",");
  const kept = (key) => { try { return localStorage.getItem(key); } catch { return null; } };
  const keep = (key, value) => { try { localStorage.setItem(key, value); } catch { /* a file may have none */ } };
  const title = { ...document.querySelector("title").dataset };

  const show = (language) => {
    root.dataset.show = language;
    root.lang = language === "zh" ? "zh-CN" : "en";
    document.title = title[language];
  };
  const wish = asked.find((each) => languages.includes(each)) ?? kept("hoist-language")
    ?? (navigator.language.startsWith("zh") ? "zh" : "en");
  show(languages.includes(wish) ? wish : languages[0]);

  const theme = asked.find((each) => each === "dark" || each === "light") ?? kept("hoist-theme");
  if (theme) root.dataset.theme = theme;

  const on = (id, act) => document.getElementById(id)?.addEventListener("click", act);
  on("language", () => {
    show(root.dataset.show === "zh" ? "en" : "zh");
    keep("hoist-language", root.dataset.show);
  });
  on("theme", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    keep("hoist-theme", root.dataset.theme);
  });
  for (const id of ["download", "download-2"]) on(id, () => {
    const text = document.getElementById("records").textContent.trimStart();
    const url = URL.createObjectURL(new Blob([text], { type: "application/x-ndjson" }));
    const link = Object.assign(document.createElement("a"), { href: url, download: "hoist-records.jsonl" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  });
})();
