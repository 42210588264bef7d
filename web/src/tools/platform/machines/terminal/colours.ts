// The terminal's colours: the console's own variables for paper and ink, and sixteen colours that can be read on either paper.
import type { ITheme } from '@xterm/xterm'

const LIGHT: ITheme = {
  black: '#16202c', red: '#a72620', green: '#12653a', yellow: '#7a5200', blue: '#1d4ed8', magenta: '#8b2aa0', cyan: '#0b6470', white: '#556270',
  brightBlack: '#5b6875', brightRed: '#c5362f', brightGreen: '#1b7a43', brightYellow: '#8a5f0d', brightBlue: '#2f62e0', brightMagenta: '#a13db8', brightCyan: '#0f766e', brightWhite: '#2b3948',
}
const DARK: ITheme = {
  black: '#2a3540', red: '#ff8f87', green: '#6fd6a3', yellow: '#ecc371', blue: '#8db4ff', magenta: '#e0a3f0', cyan: '#6fdfd3', white: '#dbe4ec',
  brightBlack: '#8896a4', brightRed: '#ffb0aa', brightGreen: '#95e8bf', brightYellow: '#f7d998', brightBlue: '#b3ceff', brightMagenta: '#edc3f7', brightCyan: '#9df0e6', brightWhite: '#ffffff',
}

export function terminalColours(): ITheme {
  const styles = getComputedStyle(document.documentElement)
  const colour = (name: string): string => styles.getPropertyValue(name).trim()
  const dark = document.documentElement.classList.contains('dark')
  return {
    ...(dark ? DARK : LIGHT),
    background: colour('--card'),
    foreground: colour('--text'),
    cursor: colour('--accent'),
    cursorAccent: colour('--card'),
    selectionBackground: dark ? '#2f4a57' : '#b9dcd9',
  }
}
