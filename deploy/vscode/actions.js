// What can be done to a step from the editor: each action asks for what it needs, and sends one request.

const REFUSED = 'That is not JSON';

function json(text) {
  try {
    JSON.parse(text);
    return undefined;
  } catch (error) {
    return `${REFUSED}: ${error.message}`;
  }
}

async function value(window, prompt) {
  const text = await window.showInputBox({ prompt, placeHolder: 'JSON', validateInput: json, ignoreFocusOut: true });
  return text === undefined ? undefined : { value: JSON.parse(text) };
}

// Command -> the request it sends, and what gives the request's arguments; undefined where the user has changed his mind.
const ACTIONS = {
  'sagad.skip': {
    request: 'sagad/skip',
    async arguments(window) {
      const given = await value(window, 'What the step gives, without its handler');
      if (!given) return undefined;
      const port = await window.showInputBox({ prompt: 'By which port it is left', value: 'out' });
      return port === undefined ? undefined : { output: given.value, port: port || 'out' };
    },
  },
  'sagad.retry': {
    request: 'sagad/retry',
    async arguments() {
      return {};
    },
  },
  'sagad.editInput': {
    request: 'sagad/edit',
    async arguments(window) {
      const given = await value(window, 'What the handler of the step is sent');
      return given && { input: given.value };
    },
  },
  'sagad.editOutput': {
    request: 'sagad/edit',
    async arguments(window) {
      const given = await value(window, 'What the step has given, in place of its result or its failure');
      return given && { output: given.value };
    },
  },
  'sagad.setVariable': {
    request: 'sagad/edit',
    async arguments(window) {
      const name = await window.showInputBox({ prompt: 'Name of a variable of the execution' });
      if (!name) return undefined;
      const given = await value(window, `The value of ${name}`);
      return given && { variables: { [name]: given.value } };
    },
  },
};

function register(vscode) {
  return Object.entries(ACTIONS).map(([command, action]) =>
    vscode.commands.registerCommand(command, async () => {
      const session = vscode.debug.activeDebugSession;
      if (!session || session.type !== 'sagad') {
        vscode.window.showWarningMessage('No execution of sagad is being debugged.');
        return;
      }
      const asked = await action.arguments(vscode.window);
      if (asked === undefined) return;
      try {
        await session.customRequest(action.request, asked);
      } catch (error) {
        vscode.window.showErrorMessage(error.message);
      }
    }),
  );
}

module.exports = { ACTIONS, register };
