/** SVG charts of how a cost grows. Drawn without a DOM by echarts, which lives with the peers. */
import * as fs from "node:fs"
import type { Chart } from "../scenario.js"
import { loadPeer } from "./peers.js"
import type { SweepResult } from "./play.js"

interface Echarts {
  readonly init: (dom: null, theme: null, options: object) => {
    readonly setOption: (option: object) => void
    readonly renderToSVGString: () => string
    readonly dispose: () => void
  }
}

/** Ours is the one that stands out. */
const styleOf = (name: string) =>
  name === "effect-dlock"
    ? { lineStyle: { width: 3, color: "#c2185b" }, itemStyle: { color: "#c2185b" }, z: 3 }
    : { lineStyle: { width: 1.5, type: name.startsWith("floor") ? "dashed" : "solid" } }

const optionOf = ({ figure, title, yTitle }: Chart, { lines, sweep }: SweepResult) => ({
  animation: false,
  backgroundColor: "#ffffff",
  title: { text: title, left: "center", textStyle: { fontSize: 14 } },
  // In two rows where there are many.
  legend: { top: 28, width: 520 },
  grid: { left: 70, right: 30, top: 90, bottom: 50 },
  xAxis: { type: "log", name: sweep.xTitle, nameLocation: "middle", nameGap: 28 },
  yAxis: { type: "log", name: yTitle },
  series: lines.map(({ name, points }) => ({
    name,
    type: "line",
    symbolSize: 6,
    data: points.map(({ figures, x }) => [x, figures[figure]]),
    ...styleOf(name)
  }))
})

/** Writes a file for each chart. */
export const drawCharts = async (folder: URL, results: ReadonlyArray<SweepResult>): Promise<void> => {
  const { init } = await loadPeer<Echarts>("echarts")
  fs.mkdirSync(folder, { recursive: true })
  for (const result of results) {
    for (const chart of result.sweep.charts) {
      const drawing = init(null, null, { renderer: "svg", ssr: true, width: 720, height: 420 })
      drawing.setOption(optionOf(chart, result))
      fs.writeFileSync(new URL(`${chart.name}.svg`, folder), `${drawing.renderToSVGString()}\n`)
      drawing.dispose()
    }
  }
}
