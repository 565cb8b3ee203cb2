#include "report/html.h"

/* clang-format off */
const char rs_html_style[] =
    ":root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--dim:#59636e;--line:#d5dbe1;--panel:#f5f7f9;--ok:#116329;--okbg:#dafbe1;--bad:#a40e26;--badbg:#ffebe9;"
    "--warn:#7d4e00;--warnbg:#fff4ce;--base:#1b1f24;--back:#c3cad1;--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#b0579a;--c4:#c2255c;--c5:#9a7d00;--c6:#7a4fbf;--c7:#8c564b}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#14171b;--fg:#e4e8ec;--dim:#9aa4ae;--line:#353c44;--panel:#1d2228;--ok:#7ee2a0;--okbg:#12361f;--bad:#ff9a93;--badbg:#45191a;"
    "--warn:#f2cc60;--warnbg:#3d2e00;--base:#fff;--back:#4b545d;--c0:#56b4e9;--c1:#ff9248;--c2:#3fd6a8;--c3:#e79acb;--c4:#ff7aa8;--c5:#f0e442;--c6:#b99cff;--c7:#d6a08f}}\n"
    "*{box-sizing:border-box}body{font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;color:var(--fg);background:var(--bg);max-width:1180px;margin:0 auto;padding:28px 22px 60px}\n"
    "h1{font-size:1.5rem;margin:0 0 .2em}h2{font-size:1.15rem;margin:2.2em 0 .6em;padding-bottom:.25em;border-bottom:1px solid var(--line)}h3{font-size:1rem;margin:1.6em 0 .5em}\n"
    "p{margin:.4em 0}.dim,caption{color:var(--dim)}code,pre,.num{font-family:ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;font-size:.86em}\n"
    ".status{display:inline-block;padding:.15em .7em;border-radius:1em;font-weight:600}.done{color:var(--ok);background:var(--okbg)}.failed{color:var(--bad);background:var(--badbg)}.missing{color:var(--warn);background:var(--warnbg)}\n"
    ".scroll{overflow-x:auto;border:1px solid var(--line);border-radius:6px;max-height:85vh}table{border-collapse:collapse;width:100%;font-size:.9rem}caption{text-align:left;padding:.5em .7em;caption-side:bottom}\n"
    "th,td{padding:.32em .7em;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}tr:last-child>*{border-bottom:0}thead th{position:sticky;top:0;background:var(--panel);z-index:1;white-space:nowrap}tbody th{font-weight:500;overflow-wrap:anywhere}\n"
    "td.num,th.num{text-align:right;white-space:nowrap}td small{display:block;color:var(--dim)}.baseline th{font-weight:700}.best{font-weight:700;box-shadow:inset 0 0 0 2px var(--c0)}td small{font-weight:400}td .status{padding:0 .5em;font-size:.9em}\n"
    "th button{all:unset;cursor:pointer}th button:focus-visible{outline:2px solid var(--c0)}th[aria-sort=ascending] button::after{content:' \\25B2'}th[aria-sort=descending] button::after{content:' \\25BC'}\n"
    ".h0{background:rgba(213,94,0,.42)}.h1{background:rgba(213,94,0,.31)}.h2{background:rgba(213,94,0,.20)}.h3{background:rgba(213,94,0,.10)}.h5{background:rgba(0,114,178,.12)}.h6{background:rgba(0,114,178,.24)}.h7{background:rgba(0,114,178,.36)}.h8{background:rgba(0,114,178,.48)}\n"
    "input{font:inherit;padding:.3em .6em;margin:.2em 0 .7em;width:min(100%,26em);border:1px solid var(--line);border-radius:6px;background:var(--bg);color:var(--fg)}\n"
    "figure{margin:1em 0}figcaption{font-weight:600;margin-bottom:.2em}svg.chart{width:100%;height:auto;max-width:900px}.grid{stroke:var(--line);stroke-width:.7;fill:none}.axis{stroke:var(--dim);fill:none}.mark{stroke:var(--dim);stroke-dasharray:3 4;fill:none}\n"
    ".tick{font-size:11px;fill:var(--dim);text-anchor:middle}.end{text-anchor:end}svg g path{fill:none;stroke-width:1.8;stroke:currentColor}svg g circle{fill:currentColor;stroke:none}svg g path.bar{stroke-width:1.1}\n"
    ".base{color:var(--base)}svg g.base path{stroke-width:2.8}.back{color:var(--back)}svg g.back path{stroke-width:1}.c0{color:var(--c0)}.c1{color:var(--c1)}.c2{color:var(--c2)}.c3{color:var(--c3)}.c4{color:var(--c4)}.c5{color:var(--c5)}.c6{color:var(--c6)}.c7{color:var(--c7)}\n"
    ".c1>path:first-of-type,.c5>path:first-of-type{stroke-dasharray:7 3}.c2>path:first-of-type,.c6>path:first-of-type{stroke-dasharray:2 3}.c3>path:first-of-type,.c7>path:first-of-type{stroke-dasharray:8 3 2 3}\n"
    ".legend{list-style:none;display:flex;flex-wrap:wrap;gap:.2em 1.3em;padding:0;margin:.3em 0;font-size:.86rem}.key{width:28px;height:10px;margin-right:.4em}\n"
    "pre{background:var(--panel);border:1px solid var(--line);border-radius:6px;padding:.8em 1em;overflow:auto;max-height:70vh}dl{display:grid;grid-template-columns:max-content 1fr;gap:.15em 1.2em;margin:.5em 0}dt{color:var(--dim)}dd{margin:0;overflow-wrap:anywhere}\n"
    "@media print{body{max-width:none;padding:0;font-size:11px}.scroll,pre{max-height:none;overflow:visible;border:0}input{display:none}thead th{position:static}figure,tr{break-inside:avoid}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}\n";

const char rs_html_script[] =
    "(function(){'use strict';\n"
    "function value(row,i){var c=row.cells[i];return c.dataset.v===undefined?c.textContent:c.dataset.v===''?NaN:+c.dataset.v}\n"
    "document.querySelectorAll('table.sort').forEach(function(t){var body=t.tBodies[0];\n"
    " t.querySelectorAll('thead th').forEach(function(h,i){var b=document.createElement('button');b.type='button';b.textContent=h.textContent;h.textContent='';h.appendChild(b);\n"
    "  b.addEventListener('click',function(){var up=h.getAttribute('aria-sort')!=='ascending',rows=Array.prototype.slice.call(body.rows);\n"
    "   rows.sort(function(x,y){var a=value(x,i),b=value(y,i);\n"
    "    if(typeof a==='number'){if(isNaN(a)||isNaN(b))return isNaN(a)-isNaN(b);return up?a-b:b-a}\n"
    "    return up?a.localeCompare(b):b.localeCompare(a)});\n"
    "   rows.forEach(function(r){body.appendChild(r)});\n"
    "   t.querySelectorAll('thead th').forEach(function(o){o.removeAttribute('aria-sort')});h.setAttribute('aria-sort',up?'ascending':'descending')})})});\n"
    "var box=document.getElementById('filter'),table=document.getElementById('points'),shown=document.getElementById('shown');\n"
    "if(box&&table){box.hidden=false;box.addEventListener('input',function(){var words=box.value.toLowerCase().split(/\\s+/),n=0;\n"
    " Array.prototype.forEach.call(table.tBodies[0].rows,function(r){var s=r.textContent.toLowerCase(),on=words.every(function(w){return s.indexOf(w)>=0});r.hidden=!on;n+=on});\n"
    " shown.textContent=n+' rows'})}\n"
    "})();\n";
/* clang-format on */
