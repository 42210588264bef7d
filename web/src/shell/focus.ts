// Where the focus goes when what lies over the page is gone: back to what opened it, whoever drew it. The dialogs of the component
// library do so only when they are told to hide, not when they are simply no longer drawn; its drawers never do.
const OVER = '.p-dialog, .p-drawer, .p-menu, .p-popover'

const openers = new WeakMap<Element, HTMLElement>()
/** What is open, in the order in which the focus came to it. */
let open: Element[] = []

/** What opened it, or, when that is gone with what it lay in, what opened that. */
function openerOf(over: Element): HTMLElement | undefined {
  const opener = openers.get(over)
  if (!opener || opener.isConnected) return opener
  return knownOver(opener)
}

/** A menu is gone before its dialog is there: what it lay in is asked before that. */
const outer = new WeakMap<HTMLElement, HTMLElement | undefined>()
function knownOver(element: HTMLElement): HTMLElement | undefined {
  const next = outer.get(element)
  return next && !next.isConnected ? knownOver(next) : next
}

function came({ target, relatedTarget }: FocusEvent): void {
  const over = target instanceof Element ? target.closest(OVER) : null
  if (!over || openers.has(over)) return
  const opener = relatedTarget instanceof HTMLElement && relatedTarget !== document.body ? relatedTarget : last
  if (!opener || over.contains(opener)) return
  openers.set(over, opener)
  const below = opener.closest(OVER)
  outer.set(opener, below ? openers.get(below) : undefined)
  open.push(over)
}

/** What had the focus last: a button that is hidden while its dialog opens has lost it before. */
let last: HTMLElement | undefined
function left({ target }: FocusEvent): void {
  if (target instanceof HTMLElement) last = target
}

function gone(): void {
  const closed = open.filter((over) => !over.isConnected)
  if (closed.length === 0) return
  open = open.filter((over) => over.isConnected)
  if (document.activeElement && document.activeElement !== document.body) return
  const opener = closed.map(openerOf).find((one) => one?.isConnected)
  ;(opener ?? document.getElementById('content'))?.focus({ preventScroll: opener === undefined })
}

/** Once, for the whole page. */
export function keepFocus(): void {
  document.addEventListener('focusin', came)
  document.addEventListener('focusout', left)
  // They all lie beside the page, as children of the body.
  new MutationObserver(gone).observe(document.body, { childList: true })
}
