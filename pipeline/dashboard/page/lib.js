// What all views are made of: Preact, with htm in the place of a build step. All text goes in as text nodes, so a series may be called what it likes;
// what would turn the text around it, or hide in it, is written out.

import { h, render } from "./vendor/preact.js";
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./vendor/hooks.js";
import htm from "./vendor/htm.js";

const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
export const visible = (text) => text.replace(UNSEEN, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);

export const html = htm.bind((type, props, ...children) => h(type, props, ...children.map((c) => (typeof c === "string" ? visible(c) : c))));

// A sentence of the server: what stands between backticks is to be typed.
export const prose = (text) => text.split("`").map((part, i) => (i % 2 ? html`<code>${part}</code>` : part));
export const Trouble = ({ text }) => (text ? html`<p class="trouble" role="alert">${prose(text)}</p>` : null);

export { render, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState };
