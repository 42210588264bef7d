// The editor of the manifest. A chunk of its own: only who opens the plan screen fetches it.
import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap, snippet, type Completion, type CompletionContext, type CompletionResult } from '@codemirror/autocomplete'
import { defaultKeymap, history, historyKeymap, indentWithTab } from '@codemirror/commands'
import { bracketMatching, HighlightStyle, StreamLanguage, syntaxHighlighting } from '@codemirror/language'
import { toml } from '@codemirror/legacy-modes/mode/toml'
import { lintGutter, lintKeymap, setDiagnostics, type Diagnostic } from '@codemirror/lint'
import { highlightSelectionMatches, searchKeymap } from '@codemirror/search'
import { Compartment, EditorState, type Text } from '@codemirror/state'
import { drawSelection, EditorView, highlightActiveLine, highlightActiveLineGutter, keymap, lineNumbers, tooltips } from '@codemirror/view'
import { tags } from '@lezer/highlight'
import type { FieldProblem } from '@/api/problem'
import { completeAt, type Offer } from './complete'

export interface EditorOptions {
  parent: HTMLElement
  text: string
  /** Carried by the style sheets that the editor makes. */
  nonce: string
  label: string
  /** Id of the text that tells how to leave it. */
  describedBy: string
  phrases: Record<string, string>
  change: (text: string) => void
}

export interface Editor {
  setText: (text: string) => void
  setProblems: (problems: readonly FieldProblem[]) => void
  setWords: (label: string, phrases: Record<string, string>) => void
  goTo: (line: number, column: number) => void
  focus: () => void
  destroy: () => void
}

const TYPES: Record<Offer['kind'], string> = { section: 'class', key: 'property', value: 'constant' }

function completion(offer: Offer): Completion {
  return {
    label: offer.label,
    type: TYPES[offer.kind],
    apply: offer.insert.includes('${}') ? snippet(offer.insert) : offer.insert,
    ...(offer.detail === undefined ? {} : { detail: offer.detail }),
    ...(offer.info === undefined ? {} : { info: offer.info }),
    ...(offer.kind === 'section' ? { boost: -1 } : {}),
  }
}

function complete(context: CompletionContext): CompletionResult | null {
  const found = completeAt(context.state.doc.toString(), context.pos)
  if (!found || found.offers.length === 0) return null
  // Unasked only where something was begun: an empty line is no question.
  if (!context.explicit && found.from === context.pos && !/[="[{,] ?$/.test(context.state.sliceDoc(Math.max(0, context.pos - 2), context.pos))) return null
  return { from: found.from, options: found.offers.map(completion), validFor: /^[\w.[\]"-]*$/ }
}

/** Where a problem stands: from its column to the end of the word there. Columns count characters, not UTF-16. */
export function rangeOf(doc: Pick<Text, 'lines' | 'line'>, problem: FieldProblem): { from: number; to: number } {
  const line = doc.line(Math.min(Math.max(problem.line ?? 1, 1), doc.lines))
  const before = [...line.text].slice(0, Math.max((problem.column ?? 1) - 1, 0)).join('').length
  const rest = line.text.slice(before)
  const word = /^("[^"]*"?|'[^']*'?|\[[^\]]*\]?|[\w.-]+|\S)/u.exec(rest)
  const from = line.from + Math.min(before, line.text.length)
  return { from, to: from + (word?.[0].length ?? rest.length) }
}

const colours = HighlightStyle.define([
  { tag: tags.comment, color: 'var(--text-muted)', fontStyle: 'italic' },
  { tag: [tags.string, tags.special(tags.string)], color: 'var(--good-text)' },
  { tag: [tags.propertyName, tags.name], color: 'var(--accent)' },
  { tag: [tags.number, tags.atom, tags.bool], color: 'var(--warn-text)' },
  { tag: tags.bracket, fontWeight: '600' },
])

const look = EditorView.theme({
  '&': { backgroundColor: 'var(--card)', color: 'var(--text)', border: '1px solid var(--line)', borderRadius: 'var(--radius)', fontSize: '0.9rem' },
  '&.cm-focused': { outline: '2px solid var(--accent)', outlineOffset: '1px' },
  '.cm-scroller': { fontFamily: "ui-monospace, 'SF Mono', 'Cascadia Mono', 'DejaVu Sans Mono', monospace", maxHeight: '34rem', minHeight: '14rem' },
  '.cm-content': { caretColor: 'var(--text)' },
  '.cm-cursor': { borderLeftColor: 'var(--text)' },
  '.cm-gutters': { backgroundColor: 'var(--back)', color: 'var(--text-muted)', borderRight: '1px solid var(--line)' },
  '.cm-activeLine, .cm-activeLineGutter': { backgroundColor: 'color-mix(in srgb, var(--accent) 8%, transparent)' },
  '.cm-selectionBackground, &.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground': { backgroundColor: 'color-mix(in srgb, var(--accent) 25%, transparent)' },
  '.cm-tooltip, .cm-panels': { backgroundColor: 'var(--card)', color: 'var(--text)', borderColor: 'var(--line)' },
  '.cm-tooltip': { border: '1px solid var(--line)', borderRadius: 'var(--radius)' },
  '.cm-tooltip-autocomplete > ul > li[aria-selected]': { backgroundColor: 'color-mix(in srgb, var(--accent) 22%, var(--card))', color: 'var(--text)' },
  '.cm-completionDetail': { color: 'var(--text-muted)', fontStyle: 'normal' },
  '.cm-textfield': { backgroundColor: 'var(--back)', color: 'var(--text)', border: '1px solid var(--line)' },
  '.cm-button': { backgroundImage: 'none', backgroundColor: 'var(--back)', color: 'var(--text)', border: '1px solid var(--line)' },
})

export function createEditor(options: EditorOptions): Editor {
  const words = new Compartment()
  const named = (label: string, phrases: Record<string, string>) => [
    EditorState.phrases.of(phrases),
    EditorView.contentAttributes.of({ 'aria-label': label, 'aria-describedby': options.describedBy, spellcheck: 'false' }),
  ]
  const view = new EditorView({
    parent: options.parent,
    state: EditorState.create({
      doc: options.text,
      extensions: [
        EditorView.cspNonce.of(options.nonce),
        lineNumbers(),
        highlightActiveLineGutter(),
        highlightActiveLine(),
        drawSelection(),
        history(),
        bracketMatching(),
        closeBrackets(),
        highlightSelectionMatches(),
        lintGutter(),
        StreamLanguage.define(toml),
        syntaxHighlighting(colours),
        autocompletion({ override: [complete] }),
        // Not within the editor's own box, which would cut them off.
        tooltips({ position: 'fixed' }),
        keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...searchKeymap, ...historyKeymap, ...completionKeymap, ...lintKeymap, indentWithTab]),
        EditorView.updateListener.of((update) => {
          if (update.docChanged) options.change(update.state.doc.toString())
        }),
        look,
        words.of(named(options.label, options.phrases)),
      ],
    }),
  })

  return {
    setText(text) {
      if (text !== view.state.doc.toString()) view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } })
    },
    setProblems(problems) {
      const diagnostics = problems
        .filter((problem) => (problem.line ?? 0) > 0)
        .map((problem): Diagnostic => {
          const message = problem.help ? `${problem.message}\n${problem.help}` : problem.message
          return { ...rangeOf(view.state.doc, problem), severity: 'error', message }
        })
        .sort((a, b) => a.from - b.from)
      view.dispatch(setDiagnostics(view.state, diagnostics))
    },
    setWords(label, phrases) {
      view.dispatch({ effects: words.reconfigure(named(label, phrases)) })
    },
    goTo(line, column) {
      const { from, to } = rangeOf(view.state.doc, { message: '', line, column })
      view.dispatch({ selection: { anchor: from, head: to }, effects: EditorView.scrollIntoView(from, { y: 'center' }) })
      view.focus()
    },
    focus: () => view.focus(),
    destroy: () => view.destroy(),
  }
}
