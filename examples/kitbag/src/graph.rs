//! Graphs as lists of neighbours: `graph[node]` holds the nodes that an edge leads to.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Lists the nodes that can be reached from a start, nearest first.
pub fn breadth_first(graph: &[Vec<usize>], start: usize) -> Vec<usize> {
    let mut seen = vec![false; graph.len()];
    let mut order = Vec::new();
    let mut queue = VecDeque::from([start]);
    seen[start] = true;
    while let Some(node) = queue.pop_front() {
        order.push(node);
        for &next in &graph[node] {
            if !seen[next] {
                seen[next] = true;
                queue.push_back(next);
            }
        }
    }
    order
}

/// Lists the nodes that can be reached from a start in the order of a depth-first walk.
pub fn depth_first(graph: &[Vec<usize>], start: usize) -> Vec<usize> {
    let mut seen = vec![false; graph.len()];
    let mut order = Vec::new();
    let mut stack = vec![start];
    while let Some(node) = stack.pop() {
        if seen[node] {
            continue;
        }
        seen[node] = true;
        order.push(node);
        stack.extend(graph[node].iter().rev());
    }
    order
}

/// Returns the fewest edges from a start to a goal, or `None` if no path leads there.
pub fn shortest_hops(graph: &[Vec<usize>], start: usize, goal: usize) -> Option<usize> {
    let mut hops = vec![None; graph.len()];
    hops[start] = Some(0);
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        if node == goal {
            return hops[node];
        }
        for &next in &graph[node] {
            if hops[next].is_none() {
                hops[next] = hops[node].map(|count| count + 1);
                queue.push_back(next);
            }
        }
    }
    None
}

/// Computes the cheapest cost from a start to every node by Dijkstra's algorithm; edges are pairs of a node and a cost.
pub fn cheapest_costs(graph: &[Vec<(usize, u64)>], start: usize) -> Vec<Option<u64>> {
    let mut costs = vec![None; graph.len()];
    let mut heap = BinaryHeap::from([Reverse((0, start))]);
    while let Some(Reverse((cost, node))) = heap.pop() {
        if costs[node].is_some() {
            continue;
        }
        costs[node] = Some(cost);
        for &(next, price) in &graph[node] {
            if costs[next].is_none() {
                heap.push(Reverse((cost + price, next)));
            }
        }
    }
    costs
}

/// Orders the nodes so that every edge leads forward, or `None` if the graph has a cycle (Kahn's algorithm).
pub fn topological_order(graph: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut incoming = vec![0; graph.len()];
    for neighbours in graph {
        for &next in neighbours {
            incoming[next] += 1;
        }
    }
    let mut ready: VecDeque<usize> = (0..graph.len()).filter(|node| incoming[*node] == 0).collect();
    let mut order = Vec::with_capacity(graph.len());
    while let Some(node) = ready.pop_front() {
        order.push(node);
        for &next in &graph[node] {
            incoming[next] -= 1;
            if incoming[next] == 0 {
                ready.push_back(next);
            }
        }
    }
    (order.len() == graph.len()).then_some(order)
}

/// Counts the connected parts of an undirected graph.
pub fn count_components(graph: &[Vec<usize>]) -> usize {
    let mut seen = vec![false; graph.len()];
    let mut parts = 0;
    for start in 0..graph.len() {
        if seen[start] {
            continue;
        }
        parts += 1;
        for node in breadth_first(graph, start) {
            seen[node] = true;
        }
    }
    parts
}

/// Tells whether the nodes can be coloured with two colours so that no edge joins equal ones. The graph is undirected.
pub fn is_bipartite(graph: &[Vec<usize>]) -> bool {
    let mut colour: Vec<Option<bool>> = vec![None; graph.len()];
    for start in 0..graph.len() {
        if colour[start].is_some() {
            continue;
        }
        colour[start] = Some(false);
        let mut stack = vec![start];
        while let Some(node) = stack.pop() {
            for &next in &graph[node] {
                if colour[next].is_none() {
                    colour[next] = colour[node].map(|side| !side);
                    stack.push(next);
                } else if colour[next] == colour[node] {
                    return false;
                }
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_breadth_first() {
        let graph = vec![vec![1, 2], vec![3], vec![3], vec![]];
        assert_eq!(breadth_first(&graph, 0), vec![0, 1, 2, 3]);
    }

    #[test]
    fn test_depth_first() {
        let graph = vec![vec![1, 2], vec![3], vec![3], vec![]];
        assert_eq!(depth_first(&graph, 0), vec![0, 1, 3, 2]);
    }

    #[test]
    fn test_shortest_hops() {
        let graph = vec![vec![1], vec![2], vec![], vec![]];
        assert_eq!(shortest_hops(&graph, 0, 2), Some(2));
        assert_eq!(shortest_hops(&graph, 0, 3), None);
    }

    #[test]
    fn test_cheapest_costs() {
        let graph = vec![vec![(1, 4), (2, 1)], vec![], vec![(1, 2)], vec![]];
        assert_eq!(cheapest_costs(&graph, 0), vec![Some(0), Some(3), Some(1), None]);
    }

    #[test]
    fn test_topological_order() {
        assert_eq!(topological_order(&[vec![1], vec![2], vec![]]), Some(vec![0, 1, 2]));
        assert_eq!(topological_order(&[vec![1], vec![0]]), None);
    }

    #[test]
    fn test_count_components() {
        assert_eq!(count_components(&[vec![1], vec![0], vec![]]), 2);
    }

    #[test]
    fn test_is_bipartite() {
        assert!(is_bipartite(&[vec![1], vec![0, 2], vec![1]]));
        assert!(!is_bipartite(&[vec![1, 2], vec![0, 2], vec![0, 1]]));
    }
}
