import PrimeVue from 'primevue/config'
import ToastService from 'primevue/toastservice'
import { createPinia } from 'pinia'
import { createApp } from 'vue'
import App from './App.vue'
import { i18n } from './i18n'
import { router } from './router'
import { preset } from './theme'
import { tools } from './tools'
import './style.css'

for (const tool of tools) {
  for (const language of ['en', 'de'] as const) i18n.global.mergeLocaleMessage(language, { tool: { [tool.id]: tool.messages[language] } })
}
const nonce = document.querySelector<HTMLMetaElement>('meta[name="hafen-nonce"]')?.content ?? ''

createApp(App)
  .use(createPinia())
  .use(i18n)
  .use(PrimeVue, { csp: { nonce }, theme: { preset, options: { darkModeSelector: '.dark' } } })
  .use(ToastService)
  .use(router)
  .mount('#app')
