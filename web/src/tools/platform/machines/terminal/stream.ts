// A stream of bytes into a machine: a WebSocket of binary frames, with text frames that tell the size of the window where the other
// side has a terminal.
export interface Ending {
  /** It was open before it ended. */
  opened: boolean
  /** RFC 6455, section 7.4.1. */
  code: number
  reason: string
}

export interface StreamEvents {
  open: () => void
  data: (bytes: Uint8Array) => void
  end: (ending: Ending) => void
}

export interface Stream {
  send: (bytes: Uint8Array) => void
  resize: (columns: number, rows: number) => void
  close: () => void
}

export function openStream(path: string, events: StreamEvents): Stream {
  const url = new URL(path, location.href)
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  const socket = new WebSocket(url)
  socket.binaryType = 'arraybuffer'
  let opened = false
  socket.addEventListener('open', () => {
    opened = true
    events.open()
  })
  socket.addEventListener('message', (event: MessageEvent<unknown>) => {
    if (event.data instanceof ArrayBuffer) events.data(new Uint8Array(event.data))
  })
  socket.addEventListener('close', (event) => events.end({ opened, code: event.code, reason: event.reason }))
  return {
    send: (bytes) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(new Uint8Array(bytes))
    },
    resize: (columns, rows) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ columns, rows }))
    },
    close: () => socket.close(1000),
  }
}

export type EndWord = 'refused' | 'closed' | 'away' | 'forbidden' | 'failed' | 'lost'

/** What an ending means to a person. */
export function endWord(ending: Ending): EndWord {
  if (!ending.opened) return 'refused'
  switch (ending.code) {
    case 1000:
    case 1005:
      return 'closed'
    case 1001:
    case 1012:
      return 'away'
    case 1008:
      return 'forbidden'
    case 1006:
      return 'lost'
    default:
      return 'failed'
  }
}

/** xterm gives what is no text as one character a byte. */
export function bytesOf(binary: string): Uint8Array {
  return Uint8Array.from(binary, (character) => character.charCodeAt(0) & 0xff)
}
