// Colours after the person's choice or the system's, and PrimeVue told of them once.
import { ref, watchEffect } from 'vue'
import { definePreset } from '@primeuix/themes'
import Aura from '@primeuix/themes/aura'

export type Theme = 'system' | 'light' | 'dark'

const KEY = 'hafen.theme'
const kept = localStorage.getItem(KEY)
export const theme = ref<Theme>(kept === 'light' || kept === 'dark' ? kept : 'system')
const system = matchMedia('(prefers-color-scheme: dark)')
const systemDark = ref(system.matches)
system.addEventListener('change', (event) => {
  systemDark.value = event.matches
})

watchEffect(() => {
  const dark = theme.value === 'dark' || (theme.value === 'system' && systemDark.value)
  document.documentElement.classList.toggle('dark', dark)
  document.documentElement.style.colorScheme = dark ? 'dark' : 'light'
})

export function setTheme(chosen: Theme): void {
  theme.value = chosen
  if (chosen === 'system') localStorage.removeItem(KEY)
  else localStorage.setItem(KEY, chosen)
}

export const preset = definePreset(Aura, {
  semantic: {
    primary: {
      50: '{teal.50}', 100: '{teal.100}', 200: '{teal.200}', 300: '{teal.300}', 400: '{teal.400}', 500: '{teal.500}',
      600: '{teal.600}', 700: '{teal.700}', 800: '{teal.800}', 900: '{teal.900}', 950: '{teal.950}',
    },
    colorScheme: {
      light: {
        primary: { color: '{teal.700}', contrastColor: '#ffffff', hoverColor: '{teal.800}', activeColor: '{teal.900}' },
        formField: { placeholderColor: '{surface.600}' },
        text: { mutedColor: '{surface.600}' },
      },
      dark: {
        primary: { color: '{teal.300}', contrastColor: '{surface.950}', hoverColor: '{teal.200}', activeColor: '{teal.100}' },
        formField: { placeholderColor: '{surface.400}' },
        text: { mutedColor: '{surface.300}' },
      },
    },
  },
})
