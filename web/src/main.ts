import PrimeVue from 'primevue/config'
import ToastService from 'primevue/toastservice'
import { createPinia } from 'pinia'
import { createApp } from 'vue'
import App from './App.vue'
import { i18n } from './i18n'
import { router } from './router'
import { keepFocus } from './shell/focus'
import { preset } from './theme'
import { tools } from './tools'
import './style.css'

for (const tool of tools) {
  for (const language of ['en', 'de'] as const) i18n.global.mergeLocaleMessage(language, { tool: { [tool.id]: tool.messages[language] } })
}
// These two catch the focus in the list of a field, and send it on: nothing that gets it may be hidden from those who hear the page.
const catches = { hiddenFirstFocusableEl: { 'aria-hidden': null }, hiddenLastFocusableEl: { 'aria-hidden': null } }
const nonce = document.querySelector<HTMLMetaElement>('meta[name="hafen-nonce"]')?.content ?? ''

keepFocus()
createApp(App)
  .use(createPinia())
  .use(i18n)
  .use(PrimeVue, { csp: { nonce }, theme: { preset, options: { darkModeSelector: '.dark' } }, pt: { select: catches, multiselect: catches } })
  .use(ToastService)
  .use(router)
  .mount('#app')
