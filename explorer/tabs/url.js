// The address holds the state: the tab, and every control of it by name. Nothing here asks the server for anything.
({
  // A listener of one tab's controls; `selected`: it was this tab that was clicked. `known`: all tabs, the first one first.
  write: (tab, known, names, defaults, selected) => (...values) => {
    if (!("restored" in document.documentElement.dataset)) return; // what components say while they are mounted is no change
    const url = new URL(location), given = url.searchParams;
    const here = known.includes(given.get("tab")) ? given.get("tab") : known[0];
    if (here !== tab && !selected) return; // a control of a tab that is not looked at
    const plain = names.map((_, i) => String(values[i] ?? "")), ours = ["tab", ...names].some((name) => given.has(name));
    if (here === tab && !ours && plain.every((value, i) => value === String(defaults[i] ?? ""))) return;
    if (here !== tab) for (const name of [...given.keys()]) if (!name.startsWith("__")) given.delete(name);
    const before = names.map((name) => given.get(name)).join();
    given.set("tab", tab);
    names.forEach((name, i) => given.set(name, plain[i]));
    if (before !== plain.join()) given.delete("run"); // it was of other settings
    if (url.href !== location.href) history.replaceState(history.state, "", url);
  },
  // After the controls have the address's values: from now on they are followed, and &run=1 presses the tab's button.
  open: (known, buttons) => () => {
    document.documentElement.dataset.restored = "";
    const given = new URL(location).searchParams, tab = known.includes(given.get("tab")) ? given.get("tab") : known[0];
    if (given.get("run") !== "1") return;
    const late = performance.now() + 10000; // a tab is built when it is first opened
    const press = () => {
      const button = document.getElementById(buttons[tab]);
      if (button && !button.disabled) button.click(); // one of a stage waits for its picture
      else if (performance.now() < late) requestAnimationFrame(press);
    };
    press();
  },
})
