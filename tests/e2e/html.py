"""report.html as a reader meets it: well-formed to a strict parser, named for those who do not see it, of sufficient contrast; and in a browser:
sorting, filtering, hiding and walking along curves work, nothing is loaded, no script error, nothing of a hostile config runs.
The browser's part is skipped (77) where there is no Chromium.
usage: html.py TEST_HTML"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml

SWEEPS = ("one", "small", "troubles", "hostile", "nothing", "large")
failures = []


def check(good, what):
    if not good:
        failures.append(what)
        print("FAILED:", what, flush=True)


def by_class(root, tag, name):
    return [e for e in root.iter(tag) if name in e.get("class", "").split()]


def check_markup(name, text):
    root = xml.fromstring(text.split("\n", 1)[1])
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    check(len(ids) == len(set(ids)), f"{name}: ids are unique")
    for e in root.iter():
        for attribute in ("aria-labelledby", "href"):
            if e.get(attribute):
                check(e.get(attribute).lstrip("#") in ids, f"{name}: {attribute} {e.get(attribute)} leads somewhere")
    for svg in root.iter("svg"):
        check(svg.get("aria-label") or svg.get("aria-hidden") == "true", f"{name}: a drawing is named or decoration")
    for box in by_class(root, "div", "scroll"):
        check(box.get("tabindex") == "0" and box.get("role") == "region" and box.get("aria-label"), f"{name}: what scrolls can be reached by keys")
    for th in root.iter("th"):
        check(th.get("scope") in ("row", "col"), f"{name}: heads of tables say of what")
    for table in root.iter("table"):
        width = len(table.findall("thead/tr/th"))
        check(all(len(row) == width for row in table.findall("tbody/tr")), f"{name}: rows are as long as their heads")
    for mark in by_class(root, "path", "m"):
        check(mark.get("tabindex") is None or mark.find("title").text, f"{name}: what takes the focus has a name")
    check(len(text.encode()) < 5 << 20, f"{name}: below 5 MB")


# --- contrast, after WCAG 2 ---

def luminance(rgb):
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in rgb)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def colour(text):
    digits = text[1:] if len(text) == 7 else "".join(2 * c for c in text[1:])
    return [int(digits[i : i + 2], 16) for i in (0, 2, 4)]


def check_contrast(text):
    light, dark = (dict(re.findall(r"--(\w+):(#[0-9a-f]+)", block)) for block in re.findall(r":root\{([^}]*)\}", text))
    tints = re.findall(r"\.([hd]\d)\{background:rgba\((\d+),(\d+),(\d+),(\.\d+)\)\}", text)
    check(len(tints) == 17, "the tints of maps are found")
    for theme, c in (("light", light), ("dark", {**light, **dark})):
        pairs = [(n, "bg", 4.5) for n in ("fg", "dim", "c0")] + [("dim", "panel", 4.5), ("ok", "okbg", 4.5), ("bad", "badbg", 4.5), ("warn", "warnbg", 4.5)]
        pairs += [(f"c{i}", "bg", 3) for i in range(8)] + [("good", "bg", 3), ("ill", "bg", 3), ("base", "bg", 3)]
        for fore, back, least in pairs:
            ratio = contrast(colour(c[fore]), colour(c[back]))
            check(ratio >= least, f"{theme}: {fore} on {back} has contrast {ratio:.2f}, less than {least}")
        for name, *rgb, alpha in tints:
            ground = [float(alpha) * int(v) + (1 - float(alpha)) * b for v, b in zip(rgb, colour(c["bg"]))]
            ratio = contrast(colour(c["fg"]), ground)
            check(ratio >= 4.5, f"{theme}: text on {name} has contrast {ratio:.2f}")


# --- in a browser ---

WATCH = """<script>var bad=[];window.alert=function(){bad.push('alert')};window.onerror=function(m){bad.push(m)};
document.addEventListener('securitypolicyviolation',function(e){bad.push('blocked '+e.blockedURI)})</script>"""

PROBE = """<script>(function(){'use strict';
function say(k,v){var p=document.createElement('p');p.className='probe';p.setAttribute('data-k',k);p.setAttribute('data-said',String(v));document.body.appendChild(p)}
function q(s){return document.querySelector(s)}function all(s){return Array.prototype.slice.call(document.querySelectorAll(s))}
function column(i){return all('#points tbody tr').filter(function(r){return !r.hidden}).map(function(r){return r.cells[i].textContent})}
function press(e,k){e.dispatchEvent(new KeyboardEvent('keydown',{key:k,bubbles:true,cancelable:true}))}
var heads=all('#points thead th');
heads[3].querySelector('button').click();say('up',column(3));say('up-sort',heads[3].getAttribute('aria-sort'));
heads[3].querySelector('button').click();say('down',column(3));say('down-sort',heads[3].getAttribute('aria-sort'));
heads[6].querySelector('button').click();say('values',all('#points tbody tr').map(function(r){return r.cells[6].getAttribute('data-v')}));
heads[0].querySelector('button').click();say('names',column(0));
var box=q('#filter');box.value='ROPE 2048 perplexity';box.dispatchEvent(new Event('input'));say('filtered',all('#points tbody tr').filter(function(r){return !r.hidden}).map(function(r){return r.cells[3].textContent+' '+r.cells[5].textContent}));
say('shown',q('#shown').textContent);box.value='';box.dispatchEvent(new Event('input'));say('unfiltered',column(0).length);
var chart=q('svg.chart .m')&&q('svg.chart .m').closest('svg');
if(chart){var marks=Array.prototype.slice.call(chart.querySelectorAll('.m')),stop=marks.filter(function(m){return m.getAttribute('tabindex')==='0'});
 say('stops',stop.length);say('curves',chart.querySelectorAll('.s:has(.m)').length);stop[0].focus();
 if(!document.hasFocus())stop[0].dispatchEvent(new FocusEvent('focus')); /* a window in the background gets its focus events later */
 say('tip',q('#tip').hidden?'':q('#tip').textContent);say('name',stop[0].getAttribute('aria-label'));
 press(stop[0],'ArrowLeft');say('left',document.activeElement.getAttribute('aria-label'));
 press(document.activeElement,'ArrowDown');say('below',document.activeElement.getAttribute('aria-label'));
 var key=q('.legend li[data-k]'),b=key.querySelector('button'),of='svg.chart [data-s="'+key.getAttribute('data-k')+'"]';
 b.click();say('hidden',all(of).every(function(g){return getComputedStyle(g).display==='none'})&&b.getAttribute('aria-pressed')==='false');
 b.click();say('visible',all(of).every(function(g){return getComputedStyle(g).display!=='none'})&&b.getAttribute('aria-pressed')==='true')}
say('wider',document.documentElement.scrollWidth>innerWidth);
say('loaded',performance.getEntriesByType('resource').length);say('bad',bad.join('; '))})()</script>"""


def said_in(browser, folder, page, width):
    path = os.path.join(folder, "probe.html")
    with open(path, "w") as f:
        f.write(page.replace("<head>", "<head>" + WATCH, 1).replace("</body>", PROBE + "</body>", 1))
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--virtual-time-budget=5000",
               f"--user-data-dir={folder}/profile", f"--window-size={width},900", "--enable-logging=stderr", "--dump-dom", "file://" + path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    said = dict(re.findall(r'<p class="probe" data-k="([a-z-]+)" data-said="([^"]*)">', done.stdout))
    return said, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def check_behaviour(name, said, console):
    check("bad" in said, f"{name}: the probe ran to its end")
    if "bad" not in said:
        return
    numbers = {k: [float(v) if v else None for v in said[k].split(",")] for k in ("up", "down", "values")}
    known = [v for v in numbers["values"] if v is not None]
    check(numbers["up"] == sorted(numbers["up"]) and said["up-sort"] == "ascending", f"{name}: sorts up")
    check(numbers["down"] == sorted(numbers["down"], reverse=True) and said["down-sort"] == "descending", f"{name}: sorts down")
    check(known == sorted(known) and numbers["values"][: len(known)] == known, f"{name}: what has no value comes last")
    check(said["loaded"] == "0", f"{name}: nothing is loaded, but {said['loaded']}")
    check(said["bad"] == "" and not console, f"{name}: no error: {said['bad']} {console}")
    check(said["wider"] == "false", f"{name}: the page is not wider than its window")
    rows = said["filtered"].split(",") if said["filtered"] else []
    check(all(r == "2048 perplexity" for r in rows), f"{name}: the filter leaves what has all words")
    check(said["shown"] == f"{len(rows)} of {said['unfiltered']} rows", f"{name}: says how many rows are shown: {said['shown']}")
    if "stops" in said:
        check(said["stops"] == "1", f"{name}: a chart is one stop of the Tab key")
        check(said["tip"] and said["tip"] == said["name"], f"{name}: a marker with the focus says what it is")
        check(said["name"] != said["left"], f"{name}: arrows go along a curve")
        check(said["below"] != said["left"] or said["curves"] == "1", f"{name}: arrows go from curve to curve")
        check(said["hidden"] == "true" and said["visible"] == "true", f"{name}: the legend hides and shows a variant")


def main():
    browser = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.argv[1], folder], check=True)
        for name in SWEEPS:
            with open(os.path.join(folder, name, "report.html"), newline="") as f:
                page = f.read()
            check_markup(name, page)
            if name == "small":
                check_contrast(page)
            for width in (1200, 500) if browser else ():
                said, console = said_in(browser, folder, page, width)
                check_behaviour(f"{name}, {width} wide", said, console)
                if name == "small" and said:
                    check(said.get("filtered", "").count("2048") == 3 and said["unfiltered"] == "27", "small: three ropes have a perplexity at 2048")
                    check(said.get("tip", "").startswith("rope 0, 4096: "), f"small: the baseline's last marker comes first: {said.get('tip')}")
                    check(said.get("left", "").startswith("rope 0, 2048: ") and said.get("below", "").startswith("rope 1, 2048: "), "small: arrows lead to neighbours")
    sys.exit(1 if failures else 0 if browser else 77)


main()
