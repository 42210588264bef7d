// What the check of the keyboard sees from within the page. Given to the page before its own scripts, so that it knows who listens
// for clicks; must not use anything from outside of its one function.

/* global document, getComputedStyle */
export function inPage() {
  const TABBED = 'button, a[href], input:not([type=hidden]), select, textarea, summary, [contenteditable=true]'
  const ROLES = ['button', 'tab', 'menuitem', 'option', 'slider', 'checkbox', 'radio', 'switch', 'link', 'combobox', 'spinbutton', 'textbox']
  const INTERACTIVE = [TABBED, ...ROLES.map((role) => `[role=${role}]`), '[tabindex]'].join(', ')
  // One member of these is reached by Tab, and the others from there by arrows; editors and terminals are one thing.
  const COMPOSITE = ['tablist', 'menu', 'menubar', 'radiogroup', 'listbox', 'grid', 'tree', 'toolbar'].map((role) => `[role=${role}]`).join(', ')
  const WHOLE = '.cm-editor, .xterm'
  const OVERLAY = '[role=dialog], [role=alertdialog], [role=menu], .p-select-overlay, .p-multiselect-overlay, .p-popover, [aria-modal=true]'

  const clicked = new Set()
  const { addEventListener } = EventTarget.prototype
  EventTarget.prototype.addEventListener = function listen(kind, ...rest) {
    if ((kind === 'click' || kind === 'dblclick') && this instanceof Element) clicked.add(this)
    return addEventListener.call(this, kind, ...rest)
  }

  const visible = (element) => {
    const { width, height } = element.getBoundingClientRect()
    return element.isConnected && width > 0 && height > 0 && element.checkVisibility({ visibilityProperty: true }) && !element.closest('[inert]')
  }
  const usable = (element) => visible(element) && !element.matches(':disabled, [aria-disabled=true]') && !element.closest('[aria-hidden=true]')
  const wanted = (element) => element.matches(INTERACTIVE.replace(', [tabindex]', '')) || element.tabIndex >= 0

  function name(element) {
    const words = element.getAttribute('aria-label') ?? element.labels?.[0]?.innerText ?? (element.innerText || element.textContent || element.getAttribute('placeholder'))
    return `${element.tagName.toLowerCase()}${element.getAttribute('role') ? `[${element.getAttribute('role')}]` : ''} "${String(words ?? '').trim().replaceAll(/\s+/g, ' ').slice(0, 60)}"${words ? '' : ` .${element.getAttribute('class') ?? ''}`}`
  }

  /** What of it tells focus from none. What stands for an input that is itself not drawn is beside it. */
  function looks(element) {
    const seen = [element, ...[...element.querySelectorAll('*')].slice(0, 8)]
    if (element.closest(WHOLE)) seen.push(element.closest(WHOLE), element.closest(WHOLE).parentElement)
    if (Number(getComputedStyle(element).opacity) < 0.1 || element.closest('.p-inputwrapper, .p-select, .p-multiselect')) seen.push(...element.parentElement.children, element.parentElement)
    return seen.map((one) => {
      const style = getComputedStyle(one)
      const outline = style.outlineStyle === 'none' || parseFloat(style.outlineWidth) === 0 ? '' : `${style.outlineStyle} ${style.outlineWidth} ${style.outlineColor}`
      const stroke = one instanceof SVGElement ? `${style.stroke} ${style.strokeWidth} ${style.fill}` : ''
      return [outline, style.boxShadow, style.backgroundColor, style.borderWidth, style.borderColor, style.textDecorationLine, stroke].join('|')
    }).join('\n')
  }

  let all = []
  let unfocused = new Map()
  let ends = []
  /** What had the focus already, and how it looked: told when it has lost it. */
  let first
  const overlays = () => [...document.querySelectorAll(OVERLAY)].filter(visible)
  /** The uppermost of what lies over the page. */
  const over = () => overlays().at(-1)

  globalThis.keyboard = {
    /** Whatever can be worked with on the page, or in what lies over it; numbered. */
    collect(within = over() ?? document) {
      // Without it the look of the first moment would be the one before.
      if (document.adoptedStyleSheets.length === 0) {
        const still = new CSSStyleSheet()
        still.replaceSync('*, *::before, *::after { transition: none !important; animation: none !important; }')
        document.adoptedStyleSheets = [still]
      }
      all = [...within.querySelectorAll(INTERACTIVE)].filter((one) => !ends.includes(one) && wanted(one) && usable(one))
      unfocused = new Map(all.map((one) => [one, looks(one)]))
      const at = document.activeElement
      first = unfocused.has(at) && !at.closest('.p-menu') ? { element: at, looks: looks(at) } : undefined
      if (first) unfocused.delete(at)
      return all.map(name)
    },
    /** Two marks, before and after all of the page: from one to the other leads Tab. */
    marks() {
      for (const end of ends) end.remove()
      ends = ['first', 'last'].map((which) => Object.assign(document.createElement('div'), { tabIndex: 0, id: `keyboard-${which}` }))
      document.body.prepend(ends[0])
      document.body.append(ends[1])
    },
    start(backwards = false) {
      ends[backwards ? 1 : 0].focus({ preventScroll: true })
      scrollTo(0, backwards ? document.body.scrollHeight : 0)
    },
    unmark() {
      for (const end of ends) end.remove()
      ends = []
    },
    /** Where the focus is, and whether one sees that. */
    here() {
      const element = document.activeElement
      if (!element || element === document.body || element === document.documentElement) return { lost: true }
      if (ends.includes(element)) return { end: element === ends[0] ? 'first' : 'last' }
      const late = first && first.element !== element && first.element.isConnected ? looks(first.element) === first.looks && name(first.element) : undefined
      if (first && first.element !== element) first = undefined
      const top = over()
      const outside = top !== undefined && !top.contains(element) && !element.matches('[aria-expanded=true]')
      const drawn = element.closest('.xterm, .p-multiselect') ?? element
      const box = drawn.getClientRects()[0] ?? drawn.getBoundingClientRect()
      // Of what is larger than the window a part is enough.
      const [x, y] = [Math.max(box.left, 0) + (Math.min(box.right, innerWidth) - Math.max(box.left, 0)) / 2, Math.max(box.top, 0) + (Math.min(box.bottom, innerHeight) - Math.max(box.top, 0)) / 2]
      const inView = box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth
      const hit = inView ? document.elementFromPoint(x, y) : null
      const shown = hit && (drawn.contains(hit) || hit.contains(drawn) || drawn.parentElement.contains(hit))
      // Fields of a date have stops within: the last of them is a button that the browser marks itself.
      const parts = /^(date|time|month|week)/.test(element.type ?? '')
      const marked = !unfocused.has(element) || unfocused.get(element) !== looks(element) || (parts && !element.matches(':focus-visible'))
      return { index: all.indexOf(element), name: name(element), outside, hidden: !shown, unmarked: !marked, late, parts, covered: inView && hit && !shown ? name(hit) : undefined, whole: element.closest(WHOLE)?.className, jump: element.matches('.jump button'), long: element.closest('.long') !== null }
    },
    /** Of those not reached by Tab: what one of the reached leads to by arrows, by the number of that one; and the rest. */
    rest(reached) {
      const found = new Set(reached.map((index) => all[index]).filter(Boolean))
      const groups = new Map()
      const lost = []
      for (const element of all) {
        if (found.has(element)) continue
        if (element.closest(WHOLE) && [...found].some((one) => one.closest(WHOLE) === element.closest(WHOLE))) continue
        // A terminal keeps Tab for the machine: a button beside it leads in, and what it is described by says how to leave.
        if (element.closest('.xterm') && document.getElementById(element.getAttribute('aria-describedby'))?.innerText) continue
        // Of thousands of rows some are enough.
        if (element.closest('.long tbody') && [...found].some((one) => one.closest('.long tbody') === element.closest('.long tbody'))) continue
        // Buttons of a number field do what its arrows do, and those of a search field what Escape does.
        if (element.tabIndex < 0 && element.parentElement?.closest('.p-inputnumber')) continue
        const root = element.type === 'radio' && element.name ? element.name : element.closest(COMPOSITE)
        const members = root === null ? [] : all.filter((one) => (typeof root === 'string' ? one.type === 'radio' && one.name === root : root.contains(one)))
        const entry = members.find((one) => found.has(one)) ?? [...found].find((one) => root?.id && one.getAttribute('aria-controls') === root.id)
        if (entry) {
          const role = typeof root === 'string' ? 'radiogroup' : root.getAttribute('role')
          const group = groups.get(root) ?? { entry: all.indexOf(entry), key: role === 'tablist' || role === 'toolbar' || role === 'grid' ? 'ArrowRight' : 'ArrowDown', members: [] }
          group.members.push(all.indexOf(element))
          groups.set(root, group)
        } else lost.push(name(element))
      }
      // What hears clicks, and nothing in or around it is to be had by keyboard.
      for (const element of clicked) {
        if (!element.isConnected) clicked.delete(element)
        else if ((over() ?? document.body).contains(element) && element !== document.body && visible(element) && !element.closest(`${INTERACTIVE.replace(', [tabindex]', '')}, label, [aria-hidden=true], .cm-editor, .xterm`) && !element.matches('.p-overlay-mask, .p-dialog-mask') && element.tabIndex < 0 && ![...element.querySelectorAll(INTERACTIVE)].some((one) => one.tabIndex >= 0)) lost.push(`${name(element)} hears clicks only`)
      }
      return { groups: [...groups.values()], lost }
    },
    focus: (index) => all[index]?.focus(),
    /** The number of what is focused, or of what a focused field points to. */
    active() {
      const element = document.activeElement
      const pointed = element?.getAttribute('aria-activedescendant')
      return all.indexOf(pointed ? document.getElementById(pointed) : element)
    },
    options: () => all.flatMap((one, index) => (one.matches('[role=option], [role=menuitem]') ? [index] : [])).slice(0, 15),
    nameOf: (index) => (all[index] ? name(all[index]) : undefined),
    overlays: () => overlays().length,
    /** Whether what lies over the page is a menu, or the list of a field: what has the focus points into it, and Tab leaves it. */
    isList: () => over()?.matches('.p-select-overlay, .p-multiselect-overlay, [role=menu]') ?? false,
    overlayName: () => (over() ? name(over()).slice(0, 60) : undefined),
    /** What may open something: of rows that are alike, those of the first one only. */
    openers: () =>
      all.flatMap((one, index) => {
        const row = one.closest('tbody tr, li, .card')
        if (row?.previousElementSibling?.matches(row.tagName) && row.matches('tr, li') && !one.closest('[role=menu]')) return []
        const opens = one.matches('button, [role=button], [role=combobox], [aria-haspopup]') && !one.matches('[role=tab], th button, [type=submit]')
        return opens ? [{ index, name: name(one) }] : []
      }),
    within: () => over()?.contains(document.activeElement) || document.activeElement?.getAttribute('aria-expanded') === 'true',
  }
}
