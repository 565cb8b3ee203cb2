#include "report/html.h"

/* The page is whole without it. It sorts tables by a click on their heads, filters the points, hides and shows curves, and tells what the
 * pointer or the keyboard stands on: Tab to a chart, arrows along and between curves. */
/* clang-format off */
const char rs_html_script[] =
    "(function(){'use strict';\n"
    "function all(s,r){return Array.prototype.slice.call((r||document).querySelectorAll(s))}\n"
    "function button(e){var b=document.createElement('button');b.type='button';while(e.firstChild)b.appendChild(e.firstChild);e.appendChild(b);return b}\n"
    /* sorting: cells with data-v by number, what has none last; the others as text with numbers in it */
    "function value(row,i){var v=row.cells[i].getAttribute('data-v');return v===null?row.cells[i].textContent:v===''?NaN:+v}\n"
    "function compare(a,b,up){if(typeof a==='number'&&typeof b==='number'){if(isNaN(a)||isNaN(b))return isNaN(a)-isNaN(b);return up?a-b:b-a}\n"
    " a=String(a);b=String(b);return up?a.localeCompare(b,'en',{numeric:true}):b.localeCompare(a,'en',{numeric:true})}\n"
    "all('table.sort').forEach(function(t){var heads=all('thead th',t);\n"
    " heads.forEach(function(h,i){button(h).addEventListener('click',function(){var up=h.getAttribute('aria-sort')!=='ascending',body=t.tBodies[0];\n"
    "  var rows=Array.prototype.map.call(body.rows,function(r){return{row:r,v:value(r,i)}});\n"
    "  rows.sort(function(x,y){return compare(x.v,y.v,up)});rows.forEach(function(r){body.appendChild(r.row)});\n"
    "  heads.forEach(function(o){o.removeAttribute('aria-sort')});h.setAttribute('aria-sort',up?'ascending':'descending')})})});\n"
    /* filtering: every word has to be there */
    "var box=document.getElementById('filter'),table=document.getElementById('points'),shown=document.getElementById('shown');\n"
    "if(box&&table){document.getElementById('filters').hidden=false;\n"
    " var texts=Array.prototype.map.call(table.tBodies[0].rows,function(r){return{row:r,text:Array.prototype.map.call(r.cells,function(c){return c.textContent}).join(' ').toLowerCase()}});\n"
    " box.addEventListener('input',function(){var words=box.value.toLowerCase().split(/\\s+/),n=0;\n"
    "  texts.forEach(function(t){var on=words.every(function(w){return t.text.indexOf(w)>=0});t.row.hidden=!on;n+=on});\n"
    "  shown.textContent=n+' of '+texts.length+' rows'})}\n"
    /* legends: a click hides or shows a variant on the whole page */
    "function show(key,on){all('svg.chart [data-s=\"'+key+'\"]').forEach(function(g){g.classList.toggle('off',!on)});\n"
    " all('.legend [data-k=\"'+key+'\"] button').forEach(function(b){b.setAttribute('aria-pressed',String(on))})}\n"
    "all('.legend li[data-k]').forEach(function(li){var b=button(li);b.setAttribute('aria-pressed','true');\n"
    " b.addEventListener('click',function(){show(li.getAttribute('data-k'),b.getAttribute('aria-pressed')!=='true')})});\n"
    /* what a marker or a curve says */
    "var tip=document.createElement('div');tip.id='tip';tip.hidden=true;document.body.appendChild(tip);\n"
    "function tell(e,x,y){tip.textContent=e.getAttribute('aria-label');tip.hidden=false;\n"
    " tip.style.left=Math.max(4,Math.min(x+12,innerWidth-tip.offsetWidth-4))+'px';tip.style.top=Math.max(4,y-tip.offsetHeight-10)+'px'}\n"
    "function point(m){var r=m.getBoundingClientRect();tell(m,r.left,r.top)}\n"
    "function hush(){tip.hidden=true}\n"
    "all('svg.chart').forEach(function(svg){\n"
    " all('title',svg).forEach(function(t){var e=t.parentNode;e.setAttribute('aria-label',t.textContent);e.removeChild(t)});\n"
    " svg.addEventListener('pointermove',function(v){var e=v.target.closest('.m,.s');if(e)tell(e,v.clientX,v.clientY);else hush()});\n"
    " svg.addEventListener('pointerleave',hush);\n"
    " var marks=all('.m',svg);marks.forEach(function(m,i){m.setAttribute('tabindex',i===marks.length-1?'0':'-1');\n"
    "  m.addEventListener('focus',function(){point(m)});m.addEventListener('blur',hush);\n"
    "  m.addEventListener('keydown',function(v){var k=v.key,n=null,own=all('.m',m.parentNode);\n"
    "   if(k==='ArrowRight'||k==='ArrowLeft')n=own[own.indexOf(m)+(k==='ArrowRight'?1:-1)];\n"
    "   else if(k==='ArrowUp'||k==='ArrowDown'){var gs=all('.s:not(.off)',svg).filter(function(g){return g.querySelector('.m')});\n"
    "    var g=gs[gs.indexOf(m.parentNode)+(k==='ArrowDown'?-1:1)];if(g){var ms=all('.m',g);n=ms[Math.min(own.indexOf(m),ms.length-1)]}}\n"
    "   else if(k==='Escape')hush();\n"
    "   if(n){v.preventDefault();m.setAttribute('tabindex','-1');n.setAttribute('tabindex','0');n.focus()}})})});\n"
    "document.addEventListener('scroll',function(){var m=document.activeElement;if(m&&m.matches('svg.chart .m'))point(m);else hush()},true);\n"
    "})();\n";
/* clang-format on */
