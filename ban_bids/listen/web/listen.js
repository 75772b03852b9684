// The page of a listening experiment: one screen after the other, each a promise that is kept when the person goes on.
// The server decides which trials there are and which are answered; this page only remembers, per personal link, the
// key of the session, how far the person came before the first clip, and an answer that has not arrived yet.

const base = location.pathname.replace(/\/+$/, "");
const memory = `ban-bids-listen:${base.split("/").pop()}`;
const LETTERS = "abcdefghijklmnopqrstuvwxyz";
const LONGEST_WAIT = 30; // seconds between two tries

// What may have to be said before the server has sent its texts, or without it; everything else stands in texts.toml.
const FIRST = {
  en: {
    loading: "One moment, please …",
    retry: "Try again",
    lost: "The study cannot be reached. Please check your internet connection; the page keeps trying by itself.",
    link_title: "This link cannot be used here",
    link_used: "This personal link was already opened in another browser or on another device. Please go on there, "
      + "or ask the people who sent you the link for a new one.",
    link_unknown: "This personal link is not known. Please check that it is complete, or ask the people who sent it "
      + "to you.",
    storage_title: "This browser keeps no data",
    storage: "To let you pause and go on later, this page keeps your session in your browser, and your browser does "
      + "not allow that. Please leave private browsing or allow site data for this page, then load the page again.",
    language_missing: "This study does not exist in English. Please choose another language.",
    failed_title: "Something went wrong",
    failed: "Please load this page again. If this does not help, tell the people who sent you the link: {message}",
  },
  de: {
    loading: "Einen Moment bitte …",
    retry: "Erneut versuchen",
    lost: "Die Studie ist nicht erreichbar. Bitte prüfen Sie Ihre Internetverbindung; die Seite versucht es von "
      + "selbst weiter.",
    link_title: "Dieser Link kann hier nicht verwendet werden",
    link_used: "Dieser persönliche Link wurde bereits in einem anderen Browser oder auf einem anderen Gerät geöffnet. "
      + "Bitte machen Sie dort weiter oder bitten Sie die Personen, von denen Sie den Link haben, um einen neuen.",
    link_unknown: "Dieser persönliche Link ist nicht bekannt. Bitte prüfen Sie, ob er vollständig ist, oder wenden Sie "
      + "sich an die Personen, von denen Sie ihn haben.",
    storage_title: "Dieser Browser speichert keine Daten",
    storage: "Damit Sie unterbrechen und später weitermachen können, merkt sich diese Seite Ihre Sitzung im Browser; "
      + "Ihr Browser lässt das nicht zu. Bitte verlassen Sie den privaten Modus oder erlauben Sie Websitedaten für "
      + "diese Seite und laden Sie die Seite dann neu.",
    language_missing: "Diese Studie gibt es nicht auf Deutsch. Bitte wählen Sie eine andere Sprache.",
    failed_title: "Etwas ist schiefgegangen",
    failed: "Bitte laden Sie diese Seite neu. Falls das nicht hilft, teilen Sie den Personen, von denen Sie den Link "
      + "haben, bitte Folgendes mit: {message}",
  },
};

const part = (id) => document.getElementById(id);
const audio = new Audio();
const sounds = new Map(); // clip -> promise of the address of its sound, held in this page
let language = "en";
let session = null; // what the server said at the last begin
let onKey = null; // what the present screen does with a key
let trying = null; // the try that is waited for

// ---------------------------------------------------------------------------------------------------- memory, texts

function remembered() {
  try {
    return { ...JSON.parse(localStorage.getItem(memory) || "{}") };
  } catch {
    return {};
  }
}

function remember(changes) {
  localStorage.setItem(memory, JSON.stringify({ ...remembered(), ...changes }));
}

function canRemember() {
  try {
    remember({});
    return localStorage.getItem(memory) !== null;
  } catch {
    return false;
  }
}

function say(name, places = {}) {
  const first = FIRST[language] || FIRST.en;
  const text = (session && session.texts[name]) || first[name] || name;
  return text.replace(/\{(\w+)\}/g, (whole, place) => (place in places ? String(places[place]) : whole));
}

function spoken(choice) {
  const names = session.texts.genres || {};
  return Object.prototype.hasOwnProperty.call(names, choice) ? names[choice] : choice;
}

// ------------------------------------------------------------------------------------------------------- the server

// The server is there and says no; everything else that goes wrong is worth another try.
class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(address, options, read) {
  const control = new AbortController();
  const timer = setTimeout(() => control.abort(), 60000);
  try {
    const reply = await fetch(`${base}/${address}`, { ...options, signal: control.signal, cache: "no-store" });
    if (reply.status >= 500 || reply.status === 429 || reply.status === 408) throw new Error(`status ${reply.status}`);
    if (!reply.ok) {
      const told = await reply.json().catch(() => ({}));
      throw new Refusal(reply.status, String(told.error || `status ${reply.status}`));
    }
    return await read(reply);
  } finally {
    clearTimeout(timer);
  }
}

function post(what, content) {
  const body = JSON.stringify(content);
  return ask(what, { method: "POST", headers: { "Content-Type": "application/json" }, body }, (reply) => reply.json());
}

// Work that needs the connection: told, and tried again, until it is done or refused.
async function patiently(work) {
  for (let wait = 1; ; wait = Math.min(2 * wait, LONGEST_WAIT)) {
    try {
      const result = await work();
      notice();
      return result;
    } catch (error) {
      if (error instanceof Refusal) {
        notice();
        throw error;
      }
      await anotherTry(say("lost"), wait);
    }
  }
}

// Tell what failed; kept when the person asks for another try, the connection is back or `seconds` are over, and never
// where another screen has come in between.
function anotherTry(text, seconds) {
  notice(text);
  return new Promise((done) => {
    const retry = part("retry");
    const again = () => {
      giveUp();
      if (document.activeElement === retry) focusHeading();
      retry.hidden = true;
      done();
    };
    const timer = Number.isFinite(seconds) ? setTimeout(again, 1000 * seconds) : undefined;
    window.addEventListener("online", again);
    trying = { timer, again };
    retry.textContent = say("retry");
    retry.onclick = again;
    retry.hidden = false;
  });
}

function giveUp() {
  if (!trying) return;
  clearTimeout(trying.timer);
  window.removeEventListener("online", trying.again);
  trying = null;
}

// Say something that must not be missed, or take it away; the same words are not read out a second time.
function notice(text = "") {
  giveUp();
  part("retry").hidden = true;
  if (part("notice-text").textContent !== text) part("notice-text").textContent = text;
}

async function begin() {
  // drawn here and kept before it is sent: whoever does not get the reply is known again all the same
  if (!remembered().key) remember({ key: drawKey() });
  const content = { key: remembered().key, language };
  const reply = await patiently(() => post("begin", content));
  remember({ language });
  session = { ...reply, answered: new Set(reply.answered) };
  document.documentElement.lang = language;
}

function drawKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(24));
  return btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_");
}

async function send(answer) {
  remember({ pending: answer });
  part("status").textContent = say("saving");
  try {
    await patiently(() => post("answers", { key: session.key, ...answer }));
  } catch (error) {
    // told, and then the trial is asked again; while the link is refused, the answer waits
    if (error.status !== 403 && error.status !== 404) remember({ pending: null });
    throw error;
  }
  remember({ pending: null });
  session.answered.add(answer.number);
}

// An answer that was given before a reload or a crash and had not arrived.
async function sendPending() {
  const { pending } = remembered();
  if (!pending) return;
  if (session.answered.has(pending.number)) remember({ pending: null });
  else {
    show(say("title"), "");
    await send(pending);
  }
}

// -------------------------------------------------------------------------------------------------------- the sound

function sound(clip) {
  if (!sounds.has(clip)) {
    const address = `clips/${encodeURIComponent(clip)}.wav?key=${encodeURIComponent(session.key)}`;
    const found = ask(address, {}, (reply) => reply.blob()).then((content) => URL.createObjectURL(content));
    found.catch(() => sounds.delete(clip)); // loaded again when it is asked for
    sounds.set(clip, found);
  }
  return sounds.get(clip);
}

function forget(clip) {
  const found = sounds.get(clip);
  sounds.delete(clip);
  if (found) found.then((address) => URL.revokeObjectURL(address), () => undefined);
}

// Make a clip ready: whole in this page, so that nothing stalls while it plays; false where the screen is gone.
async function ready(clip, here) {
  part("status").textContent = say("loading_clip");
  for (let wait = 1; here(); wait = Math.min(2 * wait, LONGEST_WAIT)) {
    try {
      const address = await sound(clip);
      if (!here()) break;
      audio.src = address;
      notice();
      part("status").textContent = "";
      return true;
    } catch (error) {
      if (!here()) break;
      if (error instanceof Refusal && error.status === 403) throw error; // the link has gone to another browser
      await anotherTry(say("clip_failed"), error instanceof Refusal ? Infinity : wait);
    }
  }
  return false;
}

// Start the clip from its beginning; `started` is called when it sounds, `failed` where it cannot.
function start(started, failed) {
  audio.pause();
  audio.currentTime = 0;
  audio.onplaying = () => {
    audio.onplaying = null; // a clip that goes on after a stall has not begun anew
    started(performance.now());
  };
  audio.play().catch((error) => {
    if (error.name !== "AbortError") failed(error); // aborted: stopped or started again before it sounded
  });
}

function stop() {
  audio.onplaying = null;
  audio.onended = null;
  audio.loop = false;
  audio.pause();
}

// ------------------------------------------------------------------------------------------------------- the screen

// All text gets in by textContent: nothing that comes from a file can become markup.
function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function button(textContent, onclick, className = "") {
  return make("button", { type: "button", textContent, onclick, className });
}

// Blank lines part paragraphs; a paragraph whose lines all begin with "- " is a list.
function paragraphs(text) {
  return text.trim().split(/\n\s*\n/).filter(Boolean).map((block) => {
    const lines = block.split("\n").map((line) => line.trim());
    if (!lines.every((line) => line.startsWith("- "))) return make("p", { textContent: lines.join(" ") });
    return make("ul", {}, ...lines.map((line) => make("li", { textContent: line.slice(2) })));
  });
}

function focusHeading() {
  const heading = part("main").querySelector("h1");
  if (heading) heading.focus();
}

function show(title, text, ...rest) {
  stop();
  notice();
  onKey = null;
  part("status").textContent = "";
  part("progress").hidden = true;
  const heading = make("h1", { tabIndex: -1, textContent: title });
  part("main").replaceChildren(heading, ...paragraphs(text), ...rest);
  document.title = session ? `${title} – ${say("title")}` : title;
  window.scrollTo(0, 0);
  heading.focus();
}

// A screen with one button; kept when it is pressed.
function step(title, text, go, ...rest) {
  return new Promise((done) => {
    show(title, text, ...rest, make("div", { className: "row" }, button(go, () => done(), "main")));
  });
}

function isField(target) {
  return target instanceof Element && target.closest("input, textarea, select, [contenteditable]") !== null;
}

document.addEventListener("keydown", (event) => {
  if (!onKey || event.repeat || event.isComposing || isField(event.target)) return;
  if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
  // on a button the space bar presses that button, as everywhere
  if (event.key === " " && event.target instanceof Element && event.target.closest("button, a, summary")) return;
  if (onKey(keyOf(event))) event.preventDefault();
});

// Digits by their place, too: some keyboards (French ones) write them with the shift key only.
function keyOf(event) {
  const digit = /^Digit([0-9])$/.exec(event.code);
  return digit ? digit[1] : String(event.key).toLowerCase();
}

function keysOf(choices) {
  return choices.map((_, place) => (choices.length > 10 ? LETTERS[place] || "" : String((place + 1) % 10)));
}

// Numbered buttons; `choose` is called with the place of the one that was taken.
function choiceButtons(labels, keys, choose) {
  return labels.map((label, place) => {
    const key = keys[place];
    // the second press of a double click would answer what has come into the place of the first
    const made = button("", (event) => event.detail < 2 && choose(place));
    if (key) {
      made.append(make("kbd", { textContent: key.toUpperCase() }));
      made.setAttribute("aria-keyshortcuts", key);
    }
    made.append(make("span", { textContent: label }));
    return made;
  });
}

// ------------------------------------------------------------------------------------------- before the first clip

function chooseLanguage(told = "") {
  const codes = Object.keys(FIRST);
  return new Promise((done) => {
    const buttons = codes.map((code) => make("button", {
      type: "button", lang: code, textContent: languageName(code), className: "main", onclick: () => done(code),
    }));
    show("Language · Sprache", "", make("div", { className: "row" }, ...buttons));
    notice(told);
  });
}

function languageName(code) {
  try {
    return new Intl.DisplayNames([code], { type: "language" }).of(code);
  } catch {
    return code; // the experimenter's own name for a table of texts
  }
}

// Kept with true when the person agrees, with another language where that is wanted.
function welcome() {
  return new Promise((done) => {
    const others = session.languages.filter((code) => code !== language).map((code) => make("button", {
      type: "button", lang: code, textContent: languageName(code), className: "quiet", onclick: () => done(code),
    }));
    const box = make("input", { type: "checkbox", onchange: () => notice() });
    const go = () => {
      if (box.checked) done(true);
      else {
        notice(say("agree_missing"));
        box.focus();
      }
    };
    const section = (name) => [make("h2", { textContent: say(`${name}_title`) }), ...paragraphs(say(name))];
    const count = session.trials.filter((trial) => !isPractice(trial)).length;
    show(
      say("title"), say("welcome", { count }), ...section("study"), ...section("consent"), ...section("data"),
      make("label", { className: "agree" }, box, make("span", { textContent: say("agree") })),
      make("div", { className: "row" }, button(say("agree_continue"), go, "main"), ...others),
      make("p", { className: "hint", textContent: say("agree_not") }),
    );
  });
}

function soundCheck() {
  return new Promise((done, fail) => {
    let heard = false;
    let here = true;
    const leave = () => {
      if (!heard) {
        part("status").textContent = say("sound_first");
        return;
      }
      here = false;
      forget("soundcheck");
      done();
    };
    const load = () => {
      play.disabled = true;
      ready("soundcheck", () => here).then((loaded) => { play.disabled = !loaded; }, fail);
    };
    const started = () => {
      heard = true;
      play.textContent = say("sound_stop");
      sign.textContent = say("playing");
      part("status").textContent = "";
    };
    const failed = async () => {
      forget("soundcheck");
      await anotherTry(say("clip_failed"), Infinity);
      load();
    };
    const toggle = () => {
      if (audio.paused) {
        audio.loop = true; // sounds on while the volume is set
        start(started, failed);
      } else {
        stop();
        play.textContent = say("sound_play");
        sign.textContent = "";
      }
    };
    const play = button(say("sound_play"), toggle, "play");
    const sign = playingSign();
    show(
      say("sound_title"), say("sound"), make("div", { className: "row" }, play, sign), ...paragraphs(say("sound_help")),
      make("div", { className: "row" }, button(say("sound_heard"), leave, "main")),
    );
    onKey = (key) => key === " " && !play.disabled && (toggle(), true);
    load();
  });
}

// For the eyes only: read out, it would be heard over the clip.
function playingSign() {
  return make("span", { className: "hint", "aria-hidden": "true" });
}

async function before() {
  while (!remembered().agreed) {
    const wanted = await welcome();
    if (wanted === true) remember({ agreed: true });
    else {
      language = wanted;
      await begin();
    }
  }
  if (!remembered().heard) {
    await soundCheck();
    remember({ heard: true });
  }
  if (!remembered().instructed) {
    const practice = session.trials.some(isPractice);
    const rest = [
      ...(session.confidence ? paragraphs(say("instructions_confidence")) : []),
      ...(session.trials.some((trial) => trial.kind === "check") ? paragraphs(say("instructions_checks")) : []),
      keyHint(),
      ...(practice ? paragraphs(say("practice")) : []),
    ];
    const go = say(practice ? "practice_start" : "main_start");
    await step(say("instructions_title"), say("instructions"), go, ...rest);
    remember({ instructed: true });
  }
}

function keyHint() {
  const keys = keysOf(session.choices).filter((key) => key !== "").map((key) => key.toUpperCase());
  const textContent = say("instructions_keys", { first: keys[0], last: keys[keys.length - 1] });
  return make("p", { className: "hint keys", textContent });
}

// ---------------------------------------------------------------------------------------------------------- trials

const isPractice = (trial) => trial.kind === "practice";

function alikeOf(trial) {
  return session.trials.filter((other) => isPractice(other) === isPractice(trial));
}

function titleOf(trial) {
  const alike = alikeOf(trial);
  return say(isPractice(trial) ? "practice_trial" : "trial", { number: alike.indexOf(trial) + 1, count: alike.length });
}

function showProgress(trial, pause) {
  const alike = alikeOf(trial);
  const done = alike.filter((other) => session.answered.has(other.number)).length;
  part("bar").max = alike.length;
  part("bar").value = done;
  part("done").textContent = say("progress", { done, count: alike.length });
  part("pause").textContent = say("pause");
  part("pause").onclick = pause;
  part("pause").disabled = false;
  part("progress").hidden = false;
}

// How often the clip of a trial was started, also before a pause or a reload.
function plays(trial, more = 0) {
  const { started } = remembered();
  const count = (started && started.number === trial.number ? started.count : 0) + more;
  if (more) remember({ started: { number: trial.number, count } });
  return count;
}

// Ask one trial; kept with the answer, or with null where the person wants a pause.
function question(trial) {
  return new Promise((done, fail) => {
    let here = true;
    let sounding = null; // ms; when the clip first sounded since this screen was shown (a pause shows it anew)
    let chosen = null;
    const isCheck = trial.kind === "check";
    const leave = (answer) => {
      here = false;
      stop();
      done(answer);
    };
    const finish = (confidence) => leave({
      number: trial.number, response: session.choices[chosen.place], confidence,
      response_time_ms: Math.round(chosen.time - sounding), plays: plays(trial),
    });
    const choose = (place) => {
      if (sounding === null) {
        part("status").textContent = say("play_first");
        return;
      }
      if (chosen) return;
      chosen = { place, time: performance.now() };
      stop();
      if (session.confidence && !isCheck) askConfidence(session.choices[place], finish, unchoose);
      else finish(null);
    };
    const unchoose = () => {
      chosen = null;
      main.replaceChildren(...parts);
      onKey = keys;
      sign.textContent = "";
      focusHeading();
    };
    const started = (time) => {
      plays(trial, 1);
      if (sounding === null) sounding = time;
      for (const one of buttons) one.disabled = false;
      play.textContent = say("play_again");
      part("status").textContent = "";
      sign.textContent = say("playing");
      audio.onended = () => { sign.textContent = ""; };
    };
    const load = () => {
      play.disabled = true;
      ready(trial.clip, () => here).then((loaded) => { play.disabled = !loaded; }, fail);
    };
    const failed = async () => {
      if (!here) return;
      forget(trial.clip);
      play.disabled = true;
      await anotherTry(say("clip_failed"), Infinity);
      load();
    };
    const play = button(say("play"), () => start(started, failed), "main play");
    play.setAttribute("aria-keyshortcuts", "Space");
    const sign = playingSign();
    const shortcuts = keysOf(session.choices);
    const buttons = choiceButtons(session.choices.map(spoken), shortcuts, choose);
    for (const one of buttons) one.disabled = true;
    const keys = (key) => {
      if (key === "escape") leave(null);
      else if (key === " " && !play.disabled) play.click();
      else if (key === " ") part("status").textContent = say("loading_clip");
      else if (shortcuts.includes(key)) choose(shortcuts.indexOf(key));
      else return false;
      return true;
    };
    const asked = isCheck ? say("check", { choice: spoken(trial.expected) }) : say("question");
    const task = make("p", { id: "task", className: isCheck ? "task check" : "task", textContent: asked });
    show(
      titleOf(trial), "", ...(isPractice(trial) ? paragraphs(say("practice_note")) : []),
      make("div", { className: "row" }, play, sign), task,
      make("div", { role: "group", "aria-labelledby": "task", className: "choices" }, ...buttons),
      keyHint(),
    );
    showProgress(trial, () => leave(null));
    const main = part("main");
    main.querySelector("h1").setAttribute("aria-describedby", "task");
    const parts = [...main.children];
    onKey = keys;
    load();
  });
}

// In the place of the choices, so that one key does one thing.
function askConfidence(choice, finish, unchoose) {
  const keys = ["1", "2", "3", "4"];
  const buttons = choiceButtons(keys.map((key) => say(`confidence_${key}`)), keys, (place) => finish(place + 1));
  const asked = make("h2", { id: "sure", tabIndex: -1, textContent: say("confidence") });
  part("main").replaceChildren(
    part("main").querySelector("h1"),
    make("p", { textContent: say("chosen", { choice: spoken(choice) }) }), asked,
    make("div", { role: "group", "aria-labelledby": "sure", className: "choices few" }, ...buttons),
    make("div", { className: "row" }, button(say("change"), unchoose, "quiet")),
  );
  part("status").textContent = "";
  const pause = part("pause").onclick;
  onKey = (key) => {
    if (key === "escape") pause();
    else if (keys.includes(key)) finish(Number(key));
    else return false;
    return true;
  };
  asked.focus();
}

async function questions() {
  const open = session.trials.filter((trial) => !session.answered.has(trial.number));
  const main = session.trials.filter((trial) => !isPractice(trial));
  for (const [place, trial] of open.entries()) {
    if (trial === main[0] && main.length < session.trials.length) {
      await step(say("main_title"), say("main", { count: main.length }), say("main_start"));
    }
    let answer = null;
    for (;;) {
      const asked = question(trial);
      // the next one is loaded while this one is judged
      if (place + 1 < open.length) sound(trial.clip).then(() => sound(open[place + 1].clip)).catch(() => undefined);
      answer = await asked;
      if (answer) break;
      await step(say("break_title"), say("break"), say("break_end"));
    }
    freeze();
    await send(answer);
    if (!open.slice(place + 1).some((other) => other.clip === trial.clip)) forget(trial.clip);
  }
}

// Nothing can be pressed while an answer is on its way.
function freeze() {
  onKey = null;
  for (const one of document.querySelectorAll("main button, #pause")) one.disabled = true;
}

// ------------------------------------------------------------------------------------------------------ the session

async function run() {
  if (!canRemember()) {
    language = navigator.language.startsWith("de") ? "de" : "en";
    document.documentElement.lang = language;
    show(say("storage_title"), say("storage"));
    return;
  }
  // the link is taken by a press, not by opening the page: programs that look at links in mails must not take it
  language = remembered().language;
  let told = "";
  for (;;) {
    try {
      if (!language) language = await chooseLanguage(told);
      document.documentElement.lang = language;
      show(say("loading"), "");
      await begin();
      if (!session.finished) {
        await sendPending();
        await before();
        await questions();
        await patiently(() => post("finish", { key: session.key }));
      }
      show(say("thanks_title"), say("thanks"));
      return;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      if (error.status === 403 || error.status === 404) {
        show(say("link_title"), say(error.status === 403 ? "link_used" : "link_unknown"));
        return;
      }
      if (!session) {
        if (error.status !== 400) throw error;
        told = say("language_missing"); // of those that this page offers, the experimenter removed one
        language = undefined;
        continue;
      }
      // this page and the server disagree, as where two windows are open: told, then the server's word counts
      const text = error.status === 409 ? say("answered_elsewhere") : say("refused", { message: error.message });
      await step(say("refused_title"), text, say("go_on"));
    }
  }
}

run().catch((error) => {
  show(say("failed_title"), say("failed", { message: `${error.name}: ${error.message}` }));
});
