// Tells VS Code how to reach the debug adapter: `sagad debug --dap`, or a port where one listens.
const vscode = require('vscode');
const actions = require('./actions');

function activate(context) {
  const adapters = {
    createDebugAdapterDescriptor(session) {
      if (session.configuration.port) {
        return new vscode.DebugAdapterServer(session.configuration.port, '127.0.0.1');
      }
      const [command, ...before] = vscode.workspace.getConfiguration('sagad').get('command');
      const folder = session.workspaceFolder && session.workspaceFolder.uri.fsPath;
      return new vscode.DebugAdapterExecutable(command, [...before, 'debug', '--dap'], { cwd: folder });
    },
  };
  const configurations = {
    async resolveDebugConfiguration(_folder, configuration) {
      const asked = { ...configuration, type: 'sagad', request: configuration.request || 'launch' };
      const attaches = asked.request === 'attach';
      asked.name = asked.name || (attaches ? 'Stop a live execution' : 'Look at a recorded execution');
      if (attaches && asked.live === undefined) asked.live = true;
      if (!asked.execution && asked.inputs === undefined) {
        asked.execution = await vscode.window.showInputBox({ prompt: "The execution's id, or how it begins" });
        if (!asked.execution) return undefined;
      }
      return asked;
    },
  };
  context.subscriptions.push(
    vscode.debug.registerDebugAdapterDescriptorFactory('sagad', adapters),
    vscode.debug.registerDebugConfigurationProvider('sagad', configurations),
    ...actions.register(vscode),
  );
}

module.exports = { activate, deactivate() {} };
