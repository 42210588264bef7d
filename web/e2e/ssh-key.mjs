// Keys of SSH that nobody has used yet.
import { generateKeyPairSync } from 'node:crypto'

/** A new Ed25519 key as the line of a .pub file (RFC 4253 section 6.6, RFC 8709 section 4). */
export function publicKey() {
  const raw = generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'der' }).subarray(-32)
  const field = (bytes) => {
    const length = Buffer.alloc(4)
    length.writeUInt32BE(bytes.length)
    return Buffer.concat([length, bytes])
  }
  return `ssh-ed25519 ${Buffer.concat([field(Buffer.from('ssh-ed25519')), field(raw)]).toString('base64')} walk`
}
