/** The link of an invitation. The secret stands in the fragment, which no server is sent; it is letters and digits, and stays as it is. */
export function invitationLink(token: string, origin = location.origin): string {
  return `${origin}/invitation#${token}`
}
