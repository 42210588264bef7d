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

// Aura with the console's own water and stone, and darker where its text has too little contrast for WCAG 2.2 AA.
const stone = {
  0: '#ffffff', 50: '#f6f8f9', 100: '#eceff2', 200: '#dde3e8', 300: '#c3ccd4', 400: '#8f9ba7', 500: '#66737f', 600: '#4d5966', 700: '#36414c',
  800: '#222c36', 900: '#151d25', 950: '#0e141a',
}

export const preset = definePreset(Aura, {
  semantic: {
    primary: {
      50: '{teal.50}', 100: '{teal.100}', 200: '{teal.200}', 300: '{teal.300}', 400: '{teal.400}', 500: '{teal.500}',
      600: '{teal.600}', 700: '{teal.700}', 800: '{teal.800}', 900: '{teal.900}', 950: '{teal.950}',
    },
    colorScheme: {
      light: {
        surface: stone,
        primary: { color: '{teal.700}', contrastColor: '#ffffff', hoverColor: '{teal.800}', activeColor: '{teal.900}' },
        formField: { placeholderColor: '{surface.600}' },
        text: { mutedColor: '{surface.600}' },
      },
      dark: {
        surface: stone,
        primary: { color: '{teal.300}', contrastColor: '{surface.950}', hoverColor: '{teal.200}', activeColor: '{teal.100}' },
        formField: { placeholderColor: '{surface.400}' },
        text: { mutedColor: '{surface.300}' },
      },
    },
  },
  components: {
    button: {
      colorScheme: {
        light: {
          root: {
            danger: { background: '{red.700}', hoverBackground: '{red.800}', activeBackground: '{red.900}', borderColor: '{red.700}', hoverBorderColor: '{red.800}', activeBorderColor: '{red.900}' },
            warn: { background: '{orange.800}', hoverBackground: '{orange.900}', activeBackground: '{orange.950}', borderColor: '{orange.800}', hoverBorderColor: '{orange.900}', activeBorderColor: '{orange.950}' },
            success: { background: '{green.700}', hoverBackground: '{green.800}', activeBackground: '{green.900}', borderColor: '{green.700}', hoverBorderColor: '{green.800}', activeBorderColor: '{green.900}' },
          },
          text: { danger: { color: '{red.700}' }, warn: { color: '{orange.800}' }, secondary: { color: '{surface.600}' }, success: { color: '{green.700}' } },
          outlined: { danger: { color: '{red.700}' }, warn: { color: '{orange.800}' }, secondary: { color: '{surface.600}' }, success: { color: '{green.700}' } },
        },
        dark: {
          text: { danger: { color: '{red.300}' }, secondary: { color: '{surface.300}' } },
          outlined: { danger: { color: '{red.300}' }, secondary: { color: '{surface.300}' } },
        },
      },
    },
    message: {
      colorScheme: {
        light: { warn: { color: '{yellow.800}' }, success: { color: '{green.800}' }, error: { color: '{red.700}' }, info: { color: '{blue.700}' }, secondary: { color: '{surface.700}' } },
        dark: { warn: { color: '{yellow.300}' }, success: { color: '{green.300}' }, error: { color: '{red.300}' }, info: { color: '{blue.300}' }, secondary: { color: '{surface.200}' } },
      },
    },
    // What is in a tab lies on the page as everything does, in line with its head; cards and tables bring their own ground.
    tabs: {
      tablist: { background: 'transparent' },
      tabpanel: { background: 'transparent', padding: '1rem 0 0' },
      navButton: { background: 'var(--back)' },
    },
    togglebutton: {
      colorScheme: {
        light: { root: { color: '{surface.600}', hoverColor: '{surface.800}' } },
        dark: { root: { color: '{surface.300}', hoverColor: '{surface.100}' } },
      },
    },
  },
})
