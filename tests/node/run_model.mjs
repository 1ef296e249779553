// Runs an exported model on the web's ONNX Runtime: node run_model.mjs MODEL SAMPLES…
// For each number of samples the model gets a batch of two ramps; prints what came out as JSON.
import * as ort from 'onnxruntime-web';

ort.env.wasm.numThreads = 1;
const [, , model, ...lengths] = process.argv;
const session = await ort.InferenceSession.create(model);
const found = { inputs: session.inputNames, outputs: session.outputNames, runs: [], refused: [] };
for (const samples of lengths.map(Number)) {
  const wave = Float32Array.from({ length: 2 * samples }, (_, i) => ((i * 7919) % 2000) / 1000 - 1);
  try {
    const out = await session.run({ waveform: new ort.Tensor('float32', wave, [2, samples]) });
    found.runs.push({ samples, dims: out.strong.dims, strong: [...out.strong.data], weak: [...out.weak.data] });
  } catch {
    found.refused.push(samples);
  }
}
console.log(JSON.stringify(found));
