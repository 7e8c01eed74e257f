// Appended to OHIF's app-config.js: what the MONAI Label mode of this build lacks, through OHIF's own extension points.
//
// The MONAI Label panel shows a result and has no way to keep it. OHIF has one, its Segmentation panel, which edits
// segments and exports them to the DICOMweb server as a DICOM SEG; the mode just does not show that panel. It does not
// show the brushes either, although it has given every viewport the tools.

// The panel asks http://HOST:8000/ if this cookie does not name another server. A cookie is shared by all ports of a
// host, so it is set anew by each server that serves this page.
document.cookie = `MONAILABEL_SERVER_URL=${escape(location.origin + '/')}; path=/ohif`;

// The bars of the panel show their percentage in white on white.
document.head.insertAdjacentHTML('beforeend', '<style>.monaiLabelPanel .w3-container { color: black; }</style>');

(() => {
  const PANEL = '@ohif/extension-cornerstone.panelModule.panelSegmentationWithTools';

  const evaluate = (toolNames) => ({
    name: 'evaluate.cornerstone.segmentation',
    toolNames,
    disabledText: 'There is no segmentation yet: run a model, or add one below',
  });

  const shape = (id, names, labels) => ({
    id,
    name: 'Shape',
    type: 'radio',
    value: names[0],
    values: names.map((value, place) => ({ value, label: labels[place] })),
    commands: 'setToolActiveToolbar',
  });

  const brush = (label, kind) => {
    const toolNames = [`Circular${kind}`, `Sphere${kind}`];
    const radius = {
      id: `${kind}-radius`,
      name: 'Radius (mm)',
      type: 'range',
      min: 0.5,
      max: 99.5,
      step: 0.5,
      value: 8,
      commands: { commandName: 'setBrushSize', commandOptions: { toolNames } },
    };
    const icon = `icon-tool-${label.toLowerCase()}`;
    const options = [radius, shape(`${kind}-mode`, toolNames, ['Circle', 'Sphere'])];
    return { id: label, icon, label, evaluate: evaluate(toolNames), options };
  };

  const SCISSORS = ['CircleScissor', 'SphereScissor', 'RectangleScissor'];

  // The mode lists these two buttons in its toolbox and never defines them.
  const TOOLBOX = [
    {
      id: 'BrushTools',
      uiType: 'ohif.buttonGroup',
      props: { groupId: 'BrushTools', items: [brush('Brush', 'Brush'), brush('Eraser', 'Eraser')] },
    },
    {
      id: 'Shapes',
      uiType: 'ohif.radioGroup',
      props: {
        label: 'Shapes',
        icon: 'icon-tool-shape',
        evaluate: evaluate(SCISSORS),
        options: [shape('shape-mode', SCISSORS, ['Circle', 'Sphere', 'Rectangle'])],
      },
    },
  ];

  // "Export DICOM SEG" fails in this build: of two commands of one name, the one that stores hides the one that names
  // the server to store to and reports the outcome. The context that was created last wins, so ours is created when all
  // extensions are there. It leaves the segmentation in view, to go on with.
  const repairExport = (commandsManager, extensionManager, uiNotificationService) => {
    const commandFn = async (options) => {
      const tell = (type, message) => uiNotificationService.show({ title: 'Export DICOM SEG', message, type });
      try {
        const [dataSource] = extensionManager.getActiveDataSource();
        const stored = await commandsManager.runCommand('storeSegmentation', { dataSource, ...options }, 'SEGMENTATION');
        if (stored) {
          tell('success', 'The label is on the DICOM server');
        }
      } catch (error) {
        tell('error', `The label was not stored (${error.message}); it is still here: try again`);
      }
    };
    commandsManager.createContext('semiseg');
    commandsManager.registerCommand('semiseg', 'storeSegmentation', { commandFn });
  };

  let extensionManager; // is given before the first mode only
  window.config.extensions.push({
    id: 'semiseg',
    preRegistration(managers) {
      extensionManager = managers.extensionManager;
    },
    onModeEnter({ commandsManager, servicesManager }) {
      const { panelService, toolbarService, uiNotificationService } = servicesManager.services;
      repairExport(commandsManager, extensionManager, uiNotificationService);
      if (location.pathname.endsWith('/monai-label')) {
        toolbarService.addButtons(TOOLBOX);
        panelService.addPanel(panelService.PanelPosition.Right, PANEL);
      }
    },
  });
})();
