// The page's policy takes style sheets made at run time only with the nonce of this answer, and no style attributes at all.
// xterm.js makes both: style elements, and an attribute on each span with a colour of its own. It knows nothing of nonces, and asks
// the page's document for its elements whatever its option `documentOverride` says; so while a terminal is there, what that document
// makes is dressed.
let wearers = 0

/** The nonce that the server wrote into the page. */
export function pageNonce(): string {
  return document.querySelector<HTMLMetaElement>('meta[name="hafen-nonce"]')?.content ?? ''
}

/** The object model may set styles; only the attribute as text may not. */
function setAttribute(this: HTMLElement, name: string, value: string): void {
  if (name === 'style') this.style.cssText = value
  else Element.prototype.setAttribute.call(this, name, value)
}

/** Until the function that it returns is called. Several may do so at once. */
export function dressElements(nonce: string): () => void {
  wearers += 1
  if (wearers === 1) {
    const createElement = document.createElement.bind(document)
    document.createElement = ((name: string, options?: ElementCreationOptions): HTMLElement => {
      const element = createElement(name, options)
      if (element instanceof HTMLStyleElement) element.nonce = nonce
      else if (element instanceof HTMLSpanElement) element.setAttribute = setAttribute
      return element
    }) as typeof document.createElement
  }
  let worn = true
  return () => {
    if (!worn) return
    worn = false
    wearers -= 1
    // What lies on the prototype shows again.
    if (wearers === 0) delete (document as Partial<Document>).createElement
  }
}
