// Who walks: how they come in by an invitation, and prove that it is they.
import assert from 'node:assert/strict'
import { totp } from './totp.mjs'

export const PASSWORD = 'a quiet harbour in winter'

/** Codes of an authenticator app: each is good once, so that the next is waited for. */
export class Authenticator {
  constructor(secret) {
    this.secret = secret
    this.last = ''
  }
  async next() {
    while (totp(this.secret) === this.last) await new Promise((resolve) => setTimeout(resolve, 500))
    this.last = totp(this.secret)
    return this.last
  }
}

/** Sets a person up from an invitation, by password and one-time codes; ends on the home page. */
export async function accept(page, invitation, { name, login }) {
  await page.goto(`/invitation#${invitation}`)
  await page.getByLabel('Your name').fill(name)
  assert.equal(new URL(page.url()).hash, '', 'the secret leaves the address')
  if (login) await page.getByLabel('Login', { exact: true }).fill(login)
  await page.getByLabel('With password and one-time codes').check()
  await page.getByLabel('New password').fill(PASSWORD)
  const secret = (await page.locator('.copy-text code').innerText()).replaceAll(/\s/g, '')
  const authenticator = new Authenticator(secret)
  await page.getByLabel('Code that the app shows now').fill(await authenticator.next())
  await page.getByRole('button', { name: 'Accept and sign in' }).click()
  await page.getByLabel('I have kept these codes').check()
  const codes = await page.locator('.paper li').allInnerTexts()
  assert.ok(codes.length >= 8, `recovery codes: ${codes.length}`)
  return { authenticator, codes }
}

/** Gives a page a device that keeps passkeys, whose owner always agrees. */
export async function carryPasskeys(page) {
  const protocol = await page.context().newCDPSession(page)
  await protocol.send('WebAuthn.enable')
  await protocol.send('WebAuthn.addVirtualAuthenticator', {
    options: { protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true },
  })
}

/** Sets a person up from an invitation, by a passkey alone; ends on the home page. */
export async function acceptByPasskey(page, invitation, name) {
  await carryPasskeys(page)
  await page.goto(`/invitation#${invitation}`)
  await page.getByLabel('Your name').fill(name)
  await page.getByLabel('With a passkey').check()
  await page.getByRole('button', { name: 'Create passkey and sign in' }).click()
  await page.getByLabel('I have kept these codes').check()
  await page.getByRole('button', { name: 'Continue' }).click()
  await page.waitForURL(/\/$/)
}

/** The dialog that asks for the second factor again, where it comes. */
export async function stepUp(page, authenticator) {
  const dialog = page.getByRole('dialog', { name: 'Prove it is you' })
  await dialog.getByLabel('One-time code or recovery code').fill(await authenticator.next())
  await dialog.getByRole('button', { name: 'Confirm' }).click()
  await dialog.waitFor({ state: 'hidden' })
}
