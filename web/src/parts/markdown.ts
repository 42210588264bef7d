import MarkdownIt from 'markdown-it'

const markdown = new MarkdownIt({ html: false, linkify: true, breaks: false })
markdown.validateLink = (url) => /^(https?:|mailto:|#|\/(?!\/))/i.test(url.trim())
markdown.renderer.rules['link_open'] = (tokens, index, options, _env, self) => {
  const token = tokens[index]
  if (token && /^https?:/i.test(String(token.attrGet('href') ?? ''))) {
    token.attrSet('target', '_blank')
    token.attrSet('rel', 'noopener noreferrer')
  }
  return self.renderToken(tokens, index, options)
}
// A picture would be fetched from elsewhere, and tell its server who reads: it becomes a link.
markdown.renderer.rules['image'] = (tokens, index) => {
  const token = tokens[index]
  const source = String(token?.attrGet('src') ?? '')
  const name = markdown.utils.escapeHtml(token?.content || source)
  return markdown.validateLink(source) ? `<a href="${markdown.utils.escapeHtml(source)}" rel="noopener noreferrer">${name}</a>` : name
}

export function renderMarkdown(text: string): string {
  return markdown.render(text)
}
