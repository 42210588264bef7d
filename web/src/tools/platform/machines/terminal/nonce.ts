// The page's policy takes style sheets made at run time only with the nonce of this answer, and no style attributes at all.
// xterm.js makes both: two style elements while it opens, and an attribute on each span of true colour. It knows nothing of nonces,
// so that the elements it asks for are dressed here.

/** The nonce that the server wrote into the page. */
export function pageNonce(): string {
  return document.querySelector<HTMLMetaElement>('meta[name="hafen-nonce"]')?.content ?? ''
}

function dressed(element: HTMLElement, nonce: string): HTMLElement {
  if (element instanceof HTMLStyleElement) element.nonce = nonce
  else if (element instanceof HTMLSpanElement) {
    // The object model may set styles; only the attribute as text may not.
    element.setAttribute = function (this: HTMLElement, name: string, value: string): void {
      if (name === 'style') this.style.cssText = value
      else Element.prototype.setAttribute.call(this, name, value)
    }
  }
  return element
}

/** A document for xterm's `documentOverride`: the page's own, whose new elements are dressed. */
export function dressingDocument(nonce: string): Document {
  const createElement = (name: string, options?: ElementCreationOptions): HTMLElement => dressed(document.createElement(name, options), nonce)
  return new Proxy(document, {
    get(target, property) {
      if (property === 'createElement') return createElement
      const value: unknown = Reflect.get(target, property, target)
      // Its methods insist on being called on the document itself.
      return typeof value === 'function' ? (value as (...args: unknown[]) => unknown).bind(target) : value
    },
    set: (target, property, value) => Reflect.set(target, property, value, target),
  })
}

/** Runs `open`, which asks the page's document for style elements past the override. */
export function withNonce<T>(nonce: string, open: () => T): T {
  const createElement = document.createElement.bind(document)
  const own = Object.getOwnPropertyDescriptor(document, 'createElement')
  document.createElement = ((name: string, options?: ElementCreationOptions) => {
    const element = createElement(name, options)
    if (element instanceof HTMLStyleElement) element.nonce = nonce
    return element
  }) as typeof document.createElement
  try {
    return open()
  } finally {
    if (own) Object.defineProperty(document, 'createElement', own)
    else delete (document as Partial<Document>).createElement
  }
}
